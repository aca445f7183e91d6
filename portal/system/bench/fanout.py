"""From a commit to the bytes in a browser: sockets over 25 screens of 40 cards, 200 servers recorded a second.

Everything is the real thing: `history.record`, the hot layer, the `server` topic with its template, the whole ASGI
application with sessions, uvicorn; the sockets are in a process of their own (`_sockets.py`). Beside it, in the same
run:

- `per_consumer`: Channels' own way, a group for each consumer (`_baseline.py`). The sender renders each card once and
  tells each group.
- `bare`: the same frames, ready, from a websocket server in C (`_bare.py`).
- `polling`: a page that asks for the same 40 cards every 3 s (`/api/monitoring/state`).

CPU is that of the web processes (ours: with hearing, reading, rendering and framing) and what the sender spends on
telling after it recorded: nothing in ours, as the PUBLISH is part of `record`, which all have.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

import numpy as np
import psutil
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

from portal.embedded.mail import free_port
from portal.embedded.services import ROOT
from portal.system.bench._fleet_under_load import (
    CARDS,
    EACH,
    SCREENS,
    Published,
    cards_of,
    fill_lines,
    make_servers,
    publish,
)
from portal.system.bench._web import UVICORNS, signed_in, web
from portal.toolkit.live.topic import topics

SECONDS = 15
SOCKETS, MANY, BURST_S = 1_000, 10_000, 10.0
PROBES = 100
POLLS, POLL_EVERY_S = 100, 3.0

Tell = Callable[[list[int]], None]


def run(seconds: int = SECONDS) -> dict[str, float]:
    server_ids = make_servers()
    fill_lines(server_ids)  # a card without data has no stamp, for which the sockets wait
    cookie = signed_in("fanout")
    ours = push(server_ids, cookie, seconds)
    compressed = push(server_ids, cookie, seconds, deflate=True)
    consumers = per_consumer(server_ids, cookie, seconds)
    floor = bare(server_ids, seconds)
    many = push_many(server_ids, cookie, seconds)
    polled = polling(server_ids, cookie)
    return {
        **ours,
        **{f"fanout.deflate.{name.removeprefix('fanout.')}": value for name, value in compressed.items()},
        **consumers,
        **floor,
        **many,
        **polled,
        "fanout.push_cpu_us_per_update": ours["fanout.cpu_us_per_send"],
        "fanout.of_per_consumer": consumers["fanout.per_consumer_cpu_us_per_send"] / ours["fanout.cpu_us_per_send"],
        "fanout.of_bare": ours["fanout.cpu_us_per_send"] / floor["fanout.bare_cpu_us_per_send"],
    }


# --- Ours -------------------------------------------------------------------------------------------------------------


def push(server_ids: list[int], cookie: str, seconds: int, *, deflate: bool = False) -> dict[str, float]:
    with (
        web("portal.asgi:application", PORTAL_LIVE_DEFLATE=str(int(deflate))) as (port, process),
        _crowd([port], cookie, _live_addresses(server_ids, SOCKETS), deflate=deflate) as crowd,
    ):
        connects_ms = crowd.ask(f"probe {PROBES}")
        load = _measured(crowd, [process], server_ids, seconds)
    return {
        "fanout.1000.p50_ms": load.latency_ms(50),
        "fanout.1000.p99_ms": load.latency_ms(99),
        "fanout.connect_p95_ms": float(np.percentile(connects_ms, 95)),
        "fanout.cpu_us_per_send": load.cpu_us_per_send,
        "fanout.bytes_per_send": load.bytes_per_send,
    }


def push_many(server_ids: list[int], cookie: str, seconds: int) -> dict[str, float]:
    """Two web processes; the sockets come within 10 s, whatever the processes say to that."""
    with ExitStack() as stack:
        webs = [stack.enter_context(web("portal.asgi:application")) for _ in range(2)]
        processes = [process for _, process in webs]
        for port, _ in webs:  # what is loaded and kept for good is not the sockets'
            with _crowd([port], cookie, _live_addresses(server_ids, SCREENS)):
                pass
        empty = sum(process.memory_info().rss for process in processes)
        started = time.perf_counter()
        ports = [port for port, _ in webs]
        crowd = stack.enter_context(_crowd(ports, cookie, _live_addresses(server_ids, MANY), over_s=BURST_S))
        all_in_s = time.perf_counter() - started
        time.sleep(2)
        full = sum(process.memory_info().rss for process in processes)
        load = _measured(crowd, processes, server_ids, seconds)
        loaded = sum(process.memory_info().rss for process in processes)
    return {
        "fanout.10000.p50_ms": load.latency_ms(50),
        "fanout.10000.p99_ms": load.latency_ms(99),
        "fanout.10000.cpu_us_per_send": load.cpu_us_per_send,
        "fanout.kib_per_socket": (full - empty) / 1024 / MANY,
        "fanout.kib_per_socket_under_load": (loaded - empty) / 1024 / MANY,
        "fanout.burst_all_in_s": all_in_s,
        "fanout.burst_first_fragment_p50_ms": float(np.percentile(crowd.opened_ms, 50)),
        "fanout.burst_first_fragment_max_ms": max(crowd.opened_ms),
    }


def _live_addresses(server_ids: list[int], count: int) -> list[str]:
    topic_lists = ["&".join(f"topic=server:{pk}" for pk in cards_of(screen, server_ids)) for screen in range(SCREENS)]
    return [f"/ws/live/?lang=en&{topic_lists[number % SCREENS]}" for number in range(count)]


# --- Beside it --------------------------------------------------------------------------------------------------------


def per_consumer(server_ids: list[int], cookie: str, seconds: int) -> dict[str, float]:
    addresses = [f"/ws/live/?person={number}" for number in range(SOCKETS)]
    with (
        web("portal.system.bench._baseline:application", UVICORNS) as (port, process),
        _crowd([port], cookie, addresses) as crowd,
    ):
        load = _measured(crowd, [process], server_ids, seconds, _tell_consumers)
    return {
        "fanout.per_consumer_p50_ms": load.latency_ms(50),
        "fanout.per_consumer_p99_ms": load.latency_ms(99),
        "fanout.per_consumer_cpu_us_per_send": load.cpu_us_per_send,
        "fanout.per_consumer_telling_cpu_us_per_send": load.published.telling_s * 1e6 / len(load.latencies_ms),
    }


def _screens(touched: list[int]) -> list[str]:
    """What each screen is to be sent."""
    html = topics()["server"].render([str(pk) for pk in touched], "en")
    return ["\n".join(html[str(pk)] for pk in touched[start : start + EACH]) for start in range(0, len(touched), EACH)]


def _tell_consumers(touched: list[int]) -> None:
    frames = _screens(touched)

    async def tell_all() -> None:
        layer = get_channel_layer()
        for number in range(SOCKETS):
            message = {"type": "cards.changed", "html": frames[number % SCREENS]}
            await layer.group_send(f"person-{number}", message)

    async_to_sync(tell_all)()


def bare(server_ids: list[int], seconds: int) -> dict[str, float]:
    port = free_port()
    command = [sys.executable, "-m", "portal.system.bench._bare", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdout.readline()
            written = server.stdin

            def tell(touched: list[int]) -> None:
                frames = "\0".join(_screens(touched)).encode()
                written.write(len(frames).to_bytes(4, "big") + frames)
                written.flush()

            with _crowd([port], "", ["/"] * SOCKETS) as crowd:
                load = _measured(crowd, [psutil.Process(server.pid)], server_ids, seconds, tell, counts_telling=False)
        finally:
            server.kill()
    return {
        "fanout.bare_p50_ms": load.latency_ms(50),
        "fanout.bare_p99_ms": load.latency_ms(99),
        "fanout.bare_cpu_us_per_send": load.cpu_us_per_send,
    }


def polling(server_ids: list[int], cookie: str) -> dict[str, float]:
    """Screens asked for as they change, one after the other; all of it is work that pushing does once a screen."""
    topic_lists = ["&".join(f"topic=server:{pk}" for pk in cards_of(screen, server_ids)) for screen in range(SCREENS)]
    with web("portal.asgi:application") as (port, process):
        connection = HTTPConnection("127.0.0.1", port)
        took_s = [_poll(connection, topic_lists[number], cookie) for number in range(SCREENS)]
        cpu_before = _cpu_s([process])
        for number in range(POLLS):
            if number % SCREENS == 0:
                publish(server_ids, 1)
            took_s.append(_poll(connection, topic_lists[number % SCREENS], cookie))
        cpu_s = _cpu_s([process]) - cpu_before
        connection.close()
    return {
        "fanout.polling_cpu_us_per_update": cpu_s * 1e6 / POLLS,
        "fanout.polling_p50_ms": float(np.percentile(took_s[SCREENS:], 50)) * 1e3,
    }


def _poll(connection: HTTPConnection, topic_list: str, cookie: str) -> float:
    started = time.perf_counter()
    connection.request("GET", f"/api/monitoring/state?lang=en&{topic_list}", headers={"Cookie": cookie})
    answer = connection.getresponse()
    if answer.status != 200 or answer.read().count(b"<article") != CARDS:
        raise RuntimeError(f"polling: {answer.status}")
    return time.perf_counter() - started


# --- The crowd and what it heard --------------------------------------------------------------------------------------


@dataclass
class _Load:
    latencies_ms: Sequence[float]
    bytes_per_send: float
    cpu_us_per_send: float
    published: Published

    def latency_ms(self, percent: float) -> float:
        return float(np.percentile(self.latencies_ms, percent))


def _measured(
    crowd: _Crowd,
    processes: Sequence[psutil.Process],
    server_ids: list[int],
    seconds: int,
    tell: Tell = lambda _: None,
    *,
    counts_telling: bool = True,
) -> _Load:
    fill_lines(server_ids)
    publish(server_ids, 3, tell)  # warms up templates, plans, caches
    time.sleep(1)
    cpu_before = _cpu_s(processes)
    published = publish(server_ids, seconds, tell)
    time.sleep(1.5)
    cpu_s = _cpu_s(processes) - cpu_before + published.telling_s * counts_telling
    heard = [one for one in crowd.ask("stop") if one[0] in published.committed_ns]
    if len(heard) < 0.9 * seconds * crowd.size:
        raise RuntimeError(f"only {len(heard)} of {seconds * crowd.size} frames came")
    return _Load(
        [(came_ns - published.committed_ns[at_ms]) / 1e6 for at_ms, came_ns, _ in heard],
        sum(size for _, _, size in heard) / len(heard),
        cpu_s * 1e6 / len(heard),
        published,
    )


class _Crowd:
    def __init__(self, process: subprocess.Popen[str], size: int) -> None:
        self._process = process
        self.size = size
        self.opened_ms: list[float] = self._answer()

    def ask(self, what: str) -> list:  # type: ignore[type-arg]
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> list:  # type: ignore[type-arg]
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sockets did not open, or were closed")
        return list(json.loads(line))


@contextmanager
def _crowd(
    ports: Sequence[int], cookie: str, addresses: Sequence[str], *, over_s: float | None = None, deflate: bool = False
) -> Iterator[_Crowd]:
    """The sockets, once all are open."""
    options = [*(["--over", str(over_s)] if over_s else []), *(["--deflate"] if deflate else [])]
    command = [sys.executable, "-m", "portal.system.bench._sockets", *options, "--", cookie, *map(str, ports)]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin is not None
        process.stdin.write("\n".join([*addresses, "", ""]))
        process.stdin.flush()
        yield _Crowd(process, len(addresses))
    finally:
        process.kill()
        process.wait()


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(used.user + used.system for used in (process.cpu_times() for process in processes))
