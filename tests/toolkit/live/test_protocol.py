"""Frames written past ASGI: to browsers that inflate, and to sockets that read nothing."""

from __future__ import annotations

import gc
import socket
import time
from contextlib import ExitStack
from typing import Any

import pytest
from django.test import Client

from portal.toolkit.live import hub as hub_module
from portal.toolkit.live import watcher as watcher_module
from portal.toolkit.live.frame import Frame
from portal.toolkit.live.protocol import HttpProtocol, LiveProtocol
from portal.toolkit.live.socket import LiveSocket
from portal.toolkit.live.touch import touch
from portal.toolkit.live.watching import Watching
from tests.toolkit.live.conftest import QUICK_S, Gauge, Portal

DEAF = 30
LONG = "x" * 100_000


def change(gauge: Gauge, value: object) -> None:
    gauge.values["1"] = value
    touch({"gauge": ["1"]})


@pytest.mark.parametrize("deflate", [False, True])
def test_frames_and_answers_are_read_by_a_browser_that_offers_deflate(
    gauge: Gauge, browser: Client, settings: Any, deflate: bool, portal: Portal
) -> None:
    settings.LIVE_DEFLATE = deflate
    gauge.values = {"1": LONG, "2": "↓"}
    with portal.socket(browser, "gauge:1", "gauge:2") as reader:
        assert [extension.name for extension in reader.socket.protocol.extensions] == ["permessage-deflate"] * deflate
        first = reader.frame()
        assert (LONG in first, "↓" in first) == (True, True)
        for number in range(3):  # answers are compressed by uvicorn, frames by us: neither may lean on the other
            reader.say(ping=number)
            assert reader.answer() == {"pong": number}
            portal.hears()
            change(gauge, f"{number} {LONG}")
            assert f"{number} {LONG}" in reader.frame()


def test_sockets_that_read_nothing_cost_one_frame_each_and_hold_nobody(
    gauge: Gauge, browser: Client, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(watcher_module.PACES_S, "high", QUICK_S)
    monkeypatch.setattr(hub_module, "TICK_S", QUICK_S)
    monkeypatch.setattr(hub_module, "SLOW_S", 0.5)
    monkeypatch.setattr(hub_module, "STUCK_S", 1.5)
    written_on_top: list[LiveProtocol] = []
    write = LiveProtocol.write

    def noted(protocol: LiveProtocol, frame: Frame) -> object:
        if not protocol.writable.is_set():
            written_on_top.append(protocol)
        return write(protocol, frame)

    monkeypatch.setattr(LiveProtocol, "write", noted)
    gauge.values = {"1": LONG}
    with ExitStack() as stack:
        deaf = [stack.enter_context(portal.deaf_socket(browser, "gauge:1")) for _ in range(DEAF)]
        reader = stack.enter_context(portal.socket(browser, "gauge:1"))
        reader.frame()
        portal.hears()
        number, slowest_s, started = 0, 0.0, time.monotonic()
        while number < 10 or _open_watchers() > 1:  # until only who reads is left
            assert time.monotonic() - started < 60
            number, touched = number + 1, time.monotonic()
            change(gauge, f"{number} {LONG}")
            while f"{number} {LONG}" not in reader.frame():
                pass
            slowest_s = max(slowest_s, time.monotonic() - touched)
        for raw in deaf:
            with pytest.raises(ConnectionError):
                _knock_for(raw, seconds=5)
    assert written_on_top == []
    assert slowest_s < 5


def test_a_socket_that_was_closed_is_gone_without_the_collector(gauge: Gauge, browser: Client, portal: Portal) -> None:
    gauge.values = {"1": "12"}
    kinds = (HttpProtocol, LiveProtocol, LiveSocket, Watching)  # the schedule may keep a Watcher until its time comes

    def left() -> list[str]:
        return [type(one).__name__ for one in gc.get_objects() if type(one) in kinds]

    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            with portal.socket(browser, "gauge:1") as reader:
                reader.frame()
        deadline = time.monotonic() + 5
        while left() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left() == []
    finally:
        gc.enable()


def _knock_for(raw: socket.socket, *, seconds: float) -> None:
    """Send pongs that nobody asked for. Raises ConnectionError once the other side has let go of it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        raw.sendall(b"\x8a\x80\0\0\0\0")
        time.sleep(0.05)


def _open_watchers() -> int:
    return max(len(hub.watchers) for loop, hub in list(hub_module._hubs.items()) if not loop.is_closed())
