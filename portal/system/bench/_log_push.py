"""Lines per second through Loki's push, over HTTP and committed, while they are merged and a tail shows them."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
from django.db import connection
from django.utils import timezone

from monitoring.ingest import tokens
from monitoring.logs.ask import Ask
from monitoring.logs.line import Level
from monitoring.logs.merge import merge_due
from monitoring.logs.search import tail
from monitoring.models import PushToken, Server
from portal.system.bench._log_lines import lines
from portal.system.bench._web import web

SECONDS = 20.0
CONNECTIONS = 2
A_PUSH = 2_000
BODIES = 60
"""That are made before the clock runs; sent again with other instants, which makes other lines."""
LOOKS_S = 0.4
MERGES_S = 5.0
PATH = "/loki/api/v1/push"
TOKEN = "omp_of-the-bench"  # noqa: S105 (of a database that is thrown away)
_AT = "0000000000000000000"


def push_rate(server_ids: Sequence[int]) -> dict[str, float]:
    token = PushToken(name="logs", group=Server.objects.get(pk=server_ids[0]).group)
    tokens.dress(token, TOKEN)
    token.save()
    bodies = [_body(number) for number in range(BODIES)]
    with web("portal.asgi:application") as (port, _process):
        _post(http.client.HTTPConnection("127.0.0.1", port, timeout=60), bodies[0])
        over = threading.Event()
        with ThreadPoolExecutor(2) as beside:
            ages = beside.submit(_watch, over)
            beside.submit(_merge, over)
            lines_per_s = _send(port, bodies)
            over.set()
            seen = ages.result()
    return {
        "logs.lines_per_s": lines_per_s,
        "logs.tail_p50_ms": float(np.median(seen)),
        "logs.tail_p95_ms": float(np.percentile(seen, 95)),
    }


def _body(number: int) -> bytes:
    """A push of several servers and sources, with `_AT` in place of each instant."""
    streams: dict[tuple[int, str, Level], list[list[object]]] = {}
    for line in lines(range(20), 0, 10**12, A_PUSH, number):
        said: list[object] = [_AT, line.text]
        streams.setdefault((line.server_id, line.source, line.level), []).append(
            [*said, dict(line.fields)] if line.fields else said
        )
    return json.dumps(
        {
            "streams": [
                {"stream": {"host": f"push-{host}", "source": source, "level": level.word}, "values": values}
                for (host, source, level), values in streams.items()
            ]
        },
        ensure_ascii=False,
    ).encode()


def _post(client: http.client.HTTPConnection, body: bytes) -> None:
    now = str(time.time_ns()).encode()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    client.request("POST", PATH, body.replace(_AT.encode(), now), headers)
    answer = client.getresponse()
    said = answer.read()
    if not 200 <= answer.status < 300:
        raise RuntimeError(f"{answer.status}: {said[:500]!r}")


def _send(port: int, bodies: list[bytes]) -> float:
    """Lines a second that were acknowledged."""
    numbers = count()
    began = time.perf_counter()

    def post() -> int:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        done = 0
        while time.perf_counter() < began + SECONDS:
            _post(client, bodies[next(numbers) % BODIES])
            done += 1
        client.close()
        return done

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        pushes = sum(each.result() for each in [pool.submit(post) for _ in range(CONNECTIONS)])
    return pushes * A_PUSH / (time.perf_counter() - began)


def _watch(over: threading.Event) -> list[float]:
    """Milliseconds from when a push was sent until a tail that looks as a page does has it, its commit included."""
    ages: list[float] = []
    cursor = tail(Ask(), servers=None, cursor="").cursor
    seen: set[int] = set()
    while not over.wait(LOOKS_S):
        found = tail(Ask(), servers=None, cursor=cursor, limit=200)
        cursor, now_ns = found.cursor, time.time_ns()
        fresh = {line.position.at_ns for line in found.lines} - seen
        seen |= fresh
        ages += [(now_ns - at_ns) / 1e6 for at_ns in fresh]
    connection.close()
    return ages


def _merge(over: threading.Event) -> None:
    while not over.wait(MERGES_S):
        merge_due(timezone.now())
    connection.close()
