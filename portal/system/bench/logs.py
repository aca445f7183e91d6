"""Logs: pages out of 10 million lines as the page asks for them, what a push takes, what a tail shows, what disk it is.

200 servers of 3 groups write web access, applications with fields, the system, Korean and stack traces over three
days; the lines go through `logs.record` and the merger. Pages are asked over HTTP, as /logs/ fetches them while
somebody scrolls; no two of a kind are the same. BENCH_LOG_LINES says how many lines, for a quick run.
"""

from __future__ import annotations

import http.client
import os
import random
import time
from collections.abc import Callable
from urllib.parse import urlencode

import numpy as np
from django.db import connection

from monitoring.history.sizes import LOGS
from monitoring.logs.ask import Ask
from monitoring.logs.search import search
from monitoring.models import Server, ServerGroup
from portal.system.bench._log_fill import PUSH, fill, merge
from portal.system.bench._log_lines import lines
from portal.system.bench._log_push import push_rate
from portal.system.bench._web import signed_in, web

LINES = int(os.environ.get("BENCH_LOG_LINES", "10000000"))
SERVERS, GROUPS = 200, 3
DAYS_NS = 3 * 86_400 * 1_000_000_000
ROUNDS = 60
COMMON = ("GET", "request", "database", "connection", "deploy", "port", "Mozilla", "결제", "카드", "status:200")
PHRASES = ('"connection reset by peer"', '"slow query"', '"Accepted publickey for deploy"', '"응답이 느립니다"')
HOPELESS = '"database connection"'


def run() -> dict[str, float]:
    server_ids = _servers()
    end_ns = time.time_ns() - 60_000_000_000
    start_ns = end_ns - DAYS_NS
    began = time.perf_counter()
    raw = fill(server_ids, start_ns, end_ns, LINES)
    filled_s = time.perf_counter() - began
    found = {
        "logs.lines": float(LINES // PUSH * PUSH),
        "logs.raw_bytes_per_line": raw / LINES,
        "logs.filled_lines_per_s": LINES / filled_s,
        "logs.disk_ratio": _bytes() / raw,
    }
    asks = _Asks(server_ids, start_ns, end_ns)
    found |= _pages(asks) | _hopeless()
    found |= push_rate(server_ids)
    merge()
    return found


def _servers() -> list[int]:
    made = []
    for number in range(GROUPS):
        group, _ = ServerGroup.objects.get_or_create(name=f"logs-{number}")
        some = (Server(name=f"logs-{place}", group=group) for place in range(number, SERVERS, GROUPS))
        made += [server.pk for server in Server.objects.bulk_create(some)]
    return sorted(made)


class _Asks:
    """What somebody looks for, as the parameters of the page."""

    def __init__(self, server_ids: list[int], start_ns: int, end_ns: int) -> None:
        self._chosen = random.Random(3)  # noqa: S311
        self._server_ids = server_ids
        self._start_ns, self._end_ns = start_ns, end_ns

    def kinds(self) -> dict[str, Callable[[], dict[str, str]]]:
        return {
            "newest": dict,
            "level_server": lambda: {"level": "error", "server": str(self._chosen.choice(self._server_ids))},
            "rare_word": lambda: {"q": self._rare()},
            "common_word": lambda: {"q": self._chosen.choice(COMMON)} | self._somewhere(),
            "phrase": lambda: {"q": self._chosen.choice(PHRASES)} | self._somewhere(),
            "deep": self._somewhere,
        }

    def _somewhere(self) -> dict[str, str]:
        return {"older": f"{self._chosen.randrange(self._start_ns, self._end_ns)}-0"}

    def _rare(self) -> str:
        """A word that one line of all has: half of them the trace of a request, half a reference in a stack trace."""
        number = self._chosen.randrange(LINES // PUSH)
        step = (self._end_ns - self._start_ns) // (LINES // PUSH)
        at_ns = self._start_ns + number * step
        while True:
            some = self._chosen.choice(lines(self._server_ids, at_ns, at_ns + step, PUSH, number))
            if trace := some.fields.get("trace_id"):
                return trace


def _pages(asks: _Asks) -> dict[str, float]:
    cookie = signed_in("logs")
    found = {}
    with web("portal.asgi:application") as (port, _process):
        for kind, make in asks.kinds().items():
            made = [make() for _ in range(ROUNDS)]
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for asked in made[: ROUNDS // 3]:
                _page(client, cookie, asked)
            took = [_page(client, cookie, asked) for asked in made[ROUNDS // 3 :]]
            found[f"logs.{kind}_p50_ms"] = float(np.median(took))
            found[f"logs.{kind}_p95_ms"] = float(np.percentile(took, 95))
    worst = max(found[f"logs.{kind}_p95_ms"] for kind in asks.kinds())
    return {"logs.page_p95_ms": worst} | found


def _page(client: http.client.HTTPConnection, cookie: str, asked: dict[str, str]) -> float:
    """Milliseconds until the page of lines has come."""
    began = time.perf_counter()
    client.request("GET", f"/logs/lines/?{urlencode(asked)}", headers={"Cookie": cookie})
    answer = client.getresponse()
    said = answer.read()
    took_ms = 1000 * (time.perf_counter() - began)
    assert answer.status == 200, said[:500]
    assert said.count(b'class="log-line') >= 1, (asked, said[:500])
    return took_ms


def _hopeless() -> dict[str, float]:
    """How far a phrase of common words that never stand together is looked for, and in which time."""
    began = time.perf_counter()
    page = search(Ask(words=HOPELESS), servers=None)
    took_ms = 1000 * (time.perf_counter() - began)
    looked = time.time_ns() - page.searched_to.at_ns if page.searched_to else DAYS_NS
    return {"logs.hopeless_ms": took_ms, "logs.hopeless_hours": looked / 3.6e12}


def _bytes() -> float:
    with connection.cursor() as cursor:
        for table in LOGS:
            cursor.execute(f"VACUUM ANALYZE {table}")
        cursor.execute(
            """
            SELECT sum(pg_total_relation_size(relid)) FROM unnest(%s::regclass[]) whole, pg_partition_tree(whole)
            """,
            [list(LOGS)],
        )
        row = cursor.fetchone()
    return float(row[0])
