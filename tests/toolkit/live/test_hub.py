"""The hub with real touches through Redis: when a frame goes, what is in it, and what is left out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from portal.toolkit.live import fragment, watcher
from portal.toolkit.live import hub as hub_module
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.touch import TOUCHED, touch
from portal.toolkit.redis import client
from tests.toolkit.live.conftest import QUICK_S, End, Gauge, add_topic, until

OpenEnd = Callable[..., End]


def say(gauge: Gauge, **values: object) -> None:
    """Change some values and touch them, as `record` does."""
    gauge.values |= values
    gauge.at_ms += 1000
    touch({gauge.name: list(values)})


async def test_a_new_socket_gets_the_whole_state_and_a_beat_in_its_first_frame(
    quick: None, gauge: Gauge, open_end: OpenEnd
) -> None:
    gauge.values = {"1": "one", "2": "two"}
    end = open_end("gauge:1", "gauge:2")
    await until(lambda: end.frames)
    assert sorted(end.bodies[0].split()) == ["one", "two"]
    assert 'id="live-beat"' in end.frames[0][1]


async def test_the_first_touch_after_a_quiet_second_goes_at_once(quick: None, gauge: Gauge, open_end: OpenEnd) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    await asyncio.sleep(QUICK_S * 1.1)
    say(gauge, **{"1": "now"})
    assert await end.gets("now") < 0.2


async def test_a_socket_gets_one_frame_a_second_with_the_newest_state(gauge: Gauge, open_end: OpenEnd) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    await asyncio.sleep(1.1)
    for number in range(1, 31):
        say(gauge, **{"1": number})
        await asyncio.sleep(0.1)
    await end.gets("30")
    stamps = [at for at, frame in end.frames if "<b " in frame]
    gaps = [later - earlier for earlier, later in pairwise(stamps)]
    assert min(gaps) >= 0.9
    assert len(stamps) <= 6  # the first state, and at most one in each of the 4 seconds


async def test_what_did_not_change_is_not_sent(quick: None, gauge: Gauge, open_end: OpenEnd) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    looks = len(gauge.rendered)
    say(gauge, **{"1": 0})
    await until(lambda: len(gauge.rendered) > looks)
    await asyncio.sleep(0.2)
    assert end.bodies == ["0"]


async def test_the_stamp_of_what_does_not_change_is_refreshed(
    quick: None, gauge: Gauge, open_end: OpenEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fragment, "RESTAMP_S", 1.0)
    end = open_end("gauge:1")
    await end.gets("0")
    say(gauge, **{"1": 0})
    await until(lambda: len(end.bodies) == 2, within_s=3)
    assert f'data-at="{gauge.at_ms}"' in end.frames[-1][1]
    assert end.frames[-1][0] - end.frames[0][0] >= 0.9


async def test_each_key_is_rendered_once_for_many_sockets_and_all_keys_in_one_call(
    quick: None, gauge: Gauge, open_end: OpenEnd
) -> None:
    ends = [open_end("gauge:1", "gauge:2") for _ in range(50)]
    for end in ends:
        await until(lambda end=end: end.frames)  # type: ignore[misc]
    await asyncio.sleep(QUICK_S * 1.1)
    gauge.rendered.clear()
    say(gauge, **{"1": "a", "2": "b", "3": "nobody watches"})
    for end in ends:
        await until(lambda end=end: len(end.bodies) == 2)  # type: ignore[misc]
    assert gauge.rendered == [(["1", "2"], "en")]


async def test_each_language_is_rendered_once(quick: None, gauge: Gauge, open_end: OpenEnd) -> None:
    for language in ("en", "ko", "ko"):
        open_end("gauge:1", language=language)
    await until(lambda: len(gauge.rendered) >= 2)
    await asyncio.sleep(0.1)
    assert sorted(gauge.rendered) == [(["1"], "en"), (["1"], "ko")]


async def test_touching_a_topic_without_keys_touches_all_that_is_watched(
    quick: None, gauge: Gauge, open_end: OpenEnd
) -> None:
    end = open_end("gauge:1", "gauge:2")
    await until(lambda: end.bodies)
    gauge.values = {"1": "x", "2": "x"}
    touch({"gauge": None})
    await end.gets("x x")


async def test_a_touch_waits_in_a_pipeline_until_it_is_executed(quick: None, gauge: Gauge, open_end: OpenEnd) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    gauge.values["1"] = "later"
    pipeline = client().pipeline(transaction=False)
    touch({"gauge": [1]}, pipeline)
    await asyncio.sleep(0.4)
    assert end.bodies == ["0"]
    pipeline.execute()
    await end.gets("later")


async def test_a_topic_that_raises_is_logged_once_and_the_others_go_on(
    quick: None, gauge: Gauge, open_end: OpenEnd, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = add_topic(monkeypatch, Gauge("broken"))
    broken.error = ZeroDivisionError("no such thing")
    end = open_end("gauge:1", "broken:1")
    await end.gets("0")
    await asyncio.sleep(QUICK_S * 1.1)
    touch({"gauge": [1], "broken": [1]})
    say(gauge, **{"1": "goes on"})
    await end.gets("goes on")
    assert len(broken.rendered) >= 2
    said = [record for record in caplog.records if "topic does not render" in str(record.msg)]
    assert len(said) == 1
    assert "broken" in str(said[0].msg)


async def test_a_topic_that_renders_again_catches_up_and_is_healthy(
    quick: None, gauge: Gauge, open_end: OpenEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "BLIND_LOOK_S", 0.4)
    gauge.error = RuntimeError("database away")
    end = open_end("gauge:1")
    await until(lambda: 'data-health="degraded"' in "".join(frame for _, frame in end.frames))
    gauge.error, gauge.values = None, {"1": "back"}
    await end.gets("back")
    await until(lambda: 'data-health="ok"' in end.frames[-1][1])


async def test_a_key_that_is_gone_is_taken_away(quick: None, gauge: Gauge, open_end: OpenEnd) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    say(gauge, **{"1": "gone"})
    await until(lambda: '<template data-gone="gauge:1"></template>' in end.frames[-1][1])


async def test_a_socket_that_does_not_take_its_frame_holds_nobody_and_gets_the_newest(
    quick: None, gauge: Gauge, open_end: OpenEnd
) -> None:
    slow, other = open_end("gauge:1"), open_end("gauge:1")
    await slow.gets("0")
    await other.gets("0")
    await asyncio.sleep(QUICK_S * 1.1)
    slow.reads.clear()
    for number in (1, 2, 3):
        say(gauge, **{"1": number})
        assert await other.gets(str(number)) < 1.2
    assert slow.bodies == ["0"]
    slow.reads.set()
    await slow.gets("3")
    assert slow.bodies == ["0", "1", "3"]  # the one under way, then only the newest


async def test_a_socket_that_takes_nothing_for_long_is_given_up(
    quick: None, gauge: Gauge, open_end: OpenEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "STUCK_S", 0.5)
    end = open_end("gauge:1")
    await end.gets("0")
    end.reads.clear()
    say(gauge, **{"1": 1})
    await until(lambda: end.stalled)


async def test_after_a_long_stall_the_whole_state_is_sent_again(
    quick: None, gauge: Gauge, open_end: OpenEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "SLOW_S", 0.3)
    end = open_end("gauge:1", "gauge:2")
    await until(lambda: end.bodies)
    end.reads.clear()
    say(gauge, **{"1": "x"})
    await asyncio.sleep(0.8)
    end.reads.set()
    await until(lambda: sorted(end.bodies[-1].split()) == ["0", "x"])


async def test_beats_come_even_when_nothing_changes_and_at_a_slow_pace(
    quick: None, gauge: Gauge, hub: Hub, open_end: OpenEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "BEAT_EVERY_S", 0.3)
    end = open_end("gauge:1")
    hub.set_pace(end.watcher, watcher.PACES_S["60"])
    await until(lambda: sum('id="live-beat"' in frame for _, frame in end.frames) >= 3)
    assert all(f'data-epoch="{hub.epoch}"' in frame for _, frame in end.frames if "live-beat" in frame)


async def test_a_slow_pace_holds_frames_back_and_a_high_one_lets_them_go(
    quick: None, gauge: Gauge, hub: Hub, open_end: OpenEnd
) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    hub.set_pace(end.watcher, watcher.PACES_S["60"])
    say(gauge, **{"1": "held"})
    await asyncio.sleep(0.5)
    assert end.bodies == ["0"]
    hub.set_pace(end.watcher, watcher.PACES_S["high"])
    assert await end.gets("held") < 0.3


async def test_what_nobody_watches_any_more_is_forgotten(
    quick: None, gauge: Gauge, hub: Hub, open_end: OpenEnd
) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    hub.unwatch(end.watcher, [f.address for f in list(end.watcher.watched)])
    say(gauge, **{"1": "unseen"})
    await asyncio.sleep(0.4)
    assert end.bodies == ["0"]
    assert gauge.rendered == [(["1"], "en")]


async def test_rubbish_on_the_channel_does_no_harm(quick: None, gauge: Gauge, hub: Hub, open_end: OpenEnd) -> None:
    end = open_end("gauge:1")
    await end.gets("0")
    for rubbish in ("", "{", "[1]", '{"gauge": 7}', '{"gauge": [[], {}]}', '{"nothing": ["1"]}', "[" * 5000):
        client().publish(TOUCHED, rubbish)
    client().publish(TOUCHED, json.dumps({"gauge": ["1"]}))
    say(gauge, **{"1": "still here"})
    await end.gets("still here")
    assert hub.is_hearing
