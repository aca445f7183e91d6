"""How long from commit to send, and who has what open: measured here, read anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.test import Client

from portal.toolkit.live import clients, timing
from portal.toolkit.live.clients import everywhere
from portal.toolkit.live.timing import BOUNDS_S, Delays, delays, lag_s, quantiles
from portal.toolkit.live.touch import touch
from tests.toolkit.live.conftest import End, Gauge, Portal
from tests.toolkit.live.sse import open_stream
from tests.toolkit.live.test_stream import until


def test_quantiles_lie_where_the_delays_were() -> None:
    noted = Delays()
    for number in range(1, 1001):
        noted.note(number / 1000)  # evenly from 1 ms to 1 s
    found = quantiles(noted.recent)
    assert found.frames == 1000
    assert found.p50_ms == pytest.approx(500, rel=0.02)
    assert found.p95_ms == pytest.approx(950, rel=0.02)
    assert found.p99_ms == pytest.approx(990, rel=0.02)
    assert noted.total_s == pytest.approx(500.5)


def test_without_frames_there_is_nothing_to_say() -> None:
    assert quantiles([0] * (len(BOUNDS_S) + 1)) == timing.Quantiles(0, None, None, None)


def test_what_took_longer_than_the_longest_bound_is_that_at_least() -> None:
    noted = Delays()
    noted.note(99.0)
    assert quantiles(noted.recent).p50_ms == 10_000


def test_what_is_older_than_some_minutes_is_forgotten_and_counted_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    noted = Delays()
    noted.note(0.001)
    for minute in range(1, timing.SLOTS + 1):
        monkeypatch.setattr(time, "monotonic", lambda: now + 61.0 * minute)  # noqa: B023  (called in this round)
        noted.turn()
    assert sum(noted.recent) == 0
    assert sum(noted.counts) == 1


@pytest.mark.parametrize(
    ("committed_ms", "lag"), [(9_500, 0.5), (10_500, 0.0), (-90_000, 0.0), ("x", 0.0), (None, 0.0)]
)
def test_a_clock_that_is_wrong_measures_nothing(committed_ms: object, lag: float) -> None:
    assert lag_s(committed_ms, 10_000) == lag


async def test_a_frame_is_as_late_as_the_commit_of_its_oldest_change_says(
    open_end: Callable[..., End], gauge: Gauge, quick: None
) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    before = list(delays.counts)
    gauge.values["1"] = "new"
    touch({"gauge": ["1"]}, committed_ms=time.time_ns() // 1_000_000 - 3_000)
    await end.gets("new")
    grown = [bucket for bucket, count in enumerate(delays.counts) if count > before[bucket]]
    assert [BOUNDS_S[bucket] for bucket in grown] == [5.0]


@pytest.mark.slow
def test_another_process_can_read_who_has_what_open(
    portal: Portal, browser: Client, gauge: Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "EVERY_S", 0.1)
    with (
        open_stream(portal.port, browser, "format=html&topic=gauge:1") as stream,
        portal.socket(browser, "gauge:2", "gauge:3") as socket,
    ):
        stream.next("frame")
        socket.frame()
        until(lambda: [(one["sockets"], one["streams"]) for one in everywhere()] == [(1, 1)])
        (process,) = everywhere()
        told = {one["transport"]: one for one in process["clients"]}
        assert told["stream"]["topics"] == ["gauge:1"]
        assert told["socket"]["topics"] == ["gauge:2", "gauge:3"]
        assert {(one["person"], one["address"], one["unsent"]) for one in told.values()} == {("reader", "127.0.0.1", 0)}
    until(lambda: [one["clients"] for one in everywhere()] == [[]])
    assert everywhere(now=time.time() + 60) == []
