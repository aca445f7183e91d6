"""From a commit to the bytes in a browser: 1,000 sockets over 25 screens of 40 cards, 200 servers recorded a second.

Everything is the real thing: `history.record`, the hot layer, the `server` topic with its template, the whole ASGI
application with sessions, uvicorn. The base line of the same run is Channels' own way (`_baseline.py`), for which the
same cards are rendered once by the sender. CPU is that of the web process, so ours includes rendering.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psutil
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import connection

from monitoring.history.frame import Frame, SeriesName
from monitoring.history.record import record
from monitoring.models import Server, ServerGroup
from portal.embedded.services import ROOT
from portal.system.bench._web import signed_in, web
from portal.toolkit.live.topic import topics

SECONDS = 15
SCREENS, CARDS, SOCKETS = 25, 40, 1_000
TOUCHED = 200
HEADLINE = ("cpu", "memory", "disk", "net_rx", "net_tx")
LAYOUT = tuple(SeriesName(name) for name in HEADLINE)

Tell = Callable[[list[int]], None]


def run() -> dict[str, float]:
    server_ids = _servers()
    cookie = signed_in("fanout")
    ours = _measure("portal.asgi:application", _live_addresses(server_ids), server_ids, cookie, lambda _: None)
    base = _measure("portal.system.bench._baseline:application", _screens(), server_ids, cookie, _tell_groups)
    return {f"fanout.{name}": value for name, value in ours.items()} | {
        f"fanout.baseline_{name}": value for name, value in base.items()
    }


def _servers() -> list[int]:
    group, _ = ServerGroup.objects.get_or_create(name="fanout")
    made = Server.objects.bulk_create(Server(name=f"fanout-{number}", group=group) for number in range(SCREENS * CARDS))
    return [server.pk for server in made]


def _cards_of(screen: int, server_ids: list[int]) -> list[int]:
    return server_ids[screen * CARDS : (screen + 1) * CARDS]


def _live_addresses(server_ids: list[int]) -> list[str]:
    topic_lists = ["&".join(f"topic=server:{pk}" for pk in _cards_of(screen, server_ids)) for screen in range(SCREENS)]
    return [f"/ws/live/?lang=en&{topic_lists[number % SCREENS]}" for number in range(SOCKETS)]


def _screens() -> list[str]:
    return [f"/ws/live/?screen={number % SCREENS}" for number in range(SOCKETS)]


def _tell_groups(touched: list[int]) -> None:
    """Render each card once and send each screen its own, as a task of the tutorial's kind would."""
    html = topics()["server"].render([str(pk) for pk in touched], "en")
    layer = get_channel_layer()
    each = TOUCHED // SCREENS
    for screen in range(SCREENS):
        cards = "\n".join(html[str(pk)] for pk in touched[screen * each : (screen + 1) * each])
        async_to_sync(layer.group_send)(f"screen-{screen}", {"type": "cards.changed", "html": cards})


def _measure(
    application: str, addresses: list[str], server_ids: list[int], cookie: str, tell: Tell
) -> dict[str, float]:
    with web(application) as (port, process), _sockets(port, cookie, addresses) as sockets:
        _publish(server_ids, 3, tell)  # warms up templates, plans, caches
        cpu_before = _cpu_s(process)
        committed_ns = _publish(server_ids, SECONDS, tell)
        time.sleep(1.5)
        cpu_s = _cpu_s(process) - cpu_before
        memory = process.memory_info().rss
        heard: list[tuple[int, int]] = json.loads(sockets.communicate("stop\n", timeout=60)[0])
    latencies_ms = [(came_ns - committed_ns[at_ms]) / 1e6 for at_ms, came_ns in heard if at_ms in committed_ns]
    if len(latencies_ms) < 0.9 * SECONDS * SOCKETS:
        raise RuntimeError(f"{application}: only {len(latencies_ms)} of {SECONDS * SOCKETS} frames came")
    return {
        "p50_ms": float(np.percentile(latencies_ms, 50)),
        "p99_ms": float(np.percentile(latencies_ms, 99)),
        "frames": float(len(latencies_ms)),
        "cpu_us_per_send": cpu_s * 1e6 / len(latencies_ms),
        "web_rss_mb": memory / 1e6,
    }


def _publish(server_ids: list[int], seconds: int, tell: Tell) -> dict[int, int]:
    """Record 8 servers of each screen once a second; when each instant was committed (ns), by the instant (ms)."""
    committed_ns: dict[int, int] = {}
    random = np.random.default_rng(seconds)
    for second in range(seconds):
        started = time.perf_counter()
        each = TOUCHED // SCREENS
        offset = second * each % CARDS
        touched = [pk for screen in range(SCREENS) for pk in _cards_of(screen, server_ids)[offset : offset + each]]
        at_ms = time.time_ns() // 1_000_000
        frames = [Frame(pk, at_ms, LAYOUT, random.uniform(1, 99, len(LAYOUT))) for pk in touched]
        with _noting_the_commit() as commits:
            record(frames, origin="bench")
        committed_ns[at_ms] = commits[-1]
        tell(touched)
        time.sleep(max(0.0, 1.0 - (time.perf_counter() - started)))
    return committed_ns


@contextmanager
def _noting_the_commit() -> Iterator[list[int]]:
    """The wall clock (ns) after each commit on this thread's connection."""
    commits: list[int] = []
    commit = connection.commit

    def noted() -> None:
        commit()
        commits.append(time.time_ns())

    connection.commit = noted  # type: ignore[method-assign]
    try:
        yield commits
    finally:
        connection.commit = commit  # type: ignore[method-assign]


@contextmanager
def _sockets(port: int, cookie: str, addresses: list[str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "portal.system.bench._sockets", str(port), cookie]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join([*addresses, "", ""]))
        process.stdin.flush()
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the sockets did not open")
        yield process
    finally:
        process.kill()
        process.wait()


def _cpu_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system
