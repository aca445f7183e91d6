"""What can wait: at its own pace, in frames of its own, and in nobody's way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from portal.toolkit.live import hub as hub_module
from portal.toolkit.live.touch import touch
from tests.toolkit.live.conftest import End, Gauge, add_topic, until


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Gauge:
    """`slow:<key>`, which can wait."""
    topic = Gauge("slow")
    monkeypatch.setattr(topic, "is_low", True)
    return add_topic(monkeypatch, topic)


def frames_of(end: End) -> list[set[str]]:
    """Which topics are in each frame."""
    found = [{name for name in ("gauge", "slow") if f'id="{name}-' in frame} for _, frame in end.frames]
    return [names for names in found if names]


async def test_what_can_wait_is_never_in_a_frame_with_what_cannot(
    open_end: Callable[..., End], gauge: Gauge, slow: Gauge, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "LOW_S", 0.0)
    end = open_end("gauge:1", "slow:1")
    await until(lambda: len(frames_of(end)) == 2)
    gauge.values, slow.values = {"1": "urgent"}, {"1": "later"}
    touch({"slow": None, "gauge": None})
    await end.gets("urgent")
    await end.gets("later")
    assert frames_of(end) == [{"gauge"}, {"slow"}, {"gauge"}, {"slow"}]


async def test_what_can_wait_comes_once_in_its_time_however_often_it_is_touched(
    open_end: Callable[..., End], gauge: Gauge, slow: Gauge, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = open_end("gauge:1", "slow:1")
    await until(lambda: len(frames_of(end)) == 2)
    slow.values, gauge.values = {"1": "first"}, {"1": "now"}
    touch({"slow": None, "gauge": None})
    await end.gets("now")
    slow.values = {"1": "last"}
    touch({"slow": None})
    await asyncio.sleep(0.5)  # two paces: nothing of it comes
    assert frames_of(end).count({"slow"}) == 1
    monkeypatch.setattr(hub_module, "LOW_S", 0.1)  # its time is over
    await end.gets("last")
    assert "first" not in end.bodies
