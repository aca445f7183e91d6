"""A process that pushes numbered samples into a portal and writes down each one that was acknowledged.

python -m portal.system.bench._sender URL HOST LEDGER, with the token in OPENMANAGER_TOKEN: one number a sample,
counting up; a line "at_ms number" is written, and forced to disk, only after the portal has answered 2xx. What was not
acknowledged is sent again as it is, until the process is killed, whatever fails meanwhile. Any other answer than 2xx,
429 or 503 ends it with a line on stderr: a portal must not refuse what is right.
"""

from __future__ import annotations

import json
import os
import sys
import time

import httpx

LATER = {429, 503}


def main(url: str, host: str, ledger: str) -> None:
    number = 0
    headers = {"Authorization": f"Bearer {os.environ['OPENMANAGER_TOKEN']}", "Content-Type": "application/json"}
    with open(ledger, "a") as out, httpx.Client(base_url=url, headers=headers, timeout=5) as client:
        while True:
            number += 1
            at_ms = time.time_ns() // 1_000_000
            push(client, json.dumps({"host": host, "at": at_ms / 1000, "metrics": {"ledger": number}}))
            out.write(f"{at_ms} {number}\n")
            out.flush()
            os.fsync(out.fileno())
            time.sleep(0.02)


def push(client: httpx.Client, body: str) -> None:
    while True:
        try:
            answer = client.post("/api/push", content=body)
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
