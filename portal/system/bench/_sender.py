"""A process that pushes numbered samples, or lines of a log, into a portal and writes down what was acknowledged.

python -m portal.system.bench._sender URL HOST LEDGER samples|lines, with the token in OPENMANAGER_TOKEN: numbers that
count up; a line "at number" of each (at: epoch ms of a sample, ns of a line) is written, and forced to disk, only after
the portal has answered 2xx. What was not acknowledged is sent again as it is, until the process is killed, whatever
fails meanwhile. Any other answer than 2xx, 429 or 503 ends it with a line on stderr: a portal must not refuse what is
right.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx

LATER = {429, 503}
LINES_A_PUSH = 20


def main(url: str, host: str, ledger: str, kind: str) -> None:
    headers = {"Authorization": f"Bearer {os.environ['OPENMANAGER_TOKEN']}", "Content-Type": "application/json"}
    pushes = lines(host) if kind == "lines" else samples(host)
    with open(ledger, "a") as out, httpx.Client(base_url=url, headers=headers, timeout=5) as client:
        for path, body, promised in pushes:
            push(client, path, json.dumps(body))
            out.write("".join(f"{at} {number}\n" for at, number in promised))
            out.flush()
            os.fsync(out.fileno())
            time.sleep(0.02)


Push = tuple[str, dict[str, Any], list[tuple[int, int]]]
"""A path, a body and what it has: instants and numbers."""


def samples(host: str) -> Iterator[Push]:
    for number in count(1):
        at_ms = time.time_ns() // 1_000_000
        yield "/api/push", {"host": host, "at": at_ms / 1000, "metrics": {"ledger": number}}, [(at_ms, number)]


def lines(host: str) -> Iterator[Push]:
    """Two of one instant differ only in their number."""
    for first in count(1, LINES_A_PUSH):
        now_ns = time.time_ns()
        promised = [(now_ns + number // 2, number) for number in range(first, first + LINES_A_PUSH)]
        values = [[str(at_ns), f"line {number}"] for at_ns, number in promised]
        yield (
            "/loki/api/v1/push",
            {"streams": [{"stream": {"host": host, "source": "ledger"}, "values": values}]},
            promised,
        )


def push(client: httpx.Client, path: str, body: str) -> None:
    while True:
        try:
            answer = client.post(path, content=body)
        except httpx.HTTPError:
            time.sleep(0.1)
            continue
        if answer.is_success:
            return
        if answer.status_code not in LATER:
            sys.exit(f"{answer.status_code}: {answer.text[:500]}")
        time.sleep(0.1)


if __name__ == "__main__":
    main(*sys.argv[1:])
