"""What programs hear: frames of the JSON variant as events."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from portal.toolkit.live import topic as topic_module
from portal.toolkit.live.events import PageEvents, ProgramEvents
from portal.toolkit.live.programs import lines_of
from portal.toolkit.live.topic import Address
from tests.toolkit.live.conftest import Gauge

BEAT = '<div id="live-beat" hidden data-epoch="e1" data-at="5" data-health="ok"></div>'


class Fires(Gauge):
    """Many things under one key; `looked_up` are the ids that were asked for."""

    event = "fire"

    def __init__(self) -> None:
        super().__init__("fires")
        self.things: list[dict[str, Any]] = []
        self.later: list[dict[str, Any]] = []
        self.looked_up: list[tuple[int, list[str]]] = []

    def data(self, keys: Sequence[str]) -> dict[str, Any]:
        return dict.fromkeys(keys, self.things)

    def missed(self, key: str, after: int, ids: Sequence[str]) -> list[dict[str, Any]]:
        self.looked_up.append((after, list(ids)))
        return [thing for thing in self.later if thing["id"] in ids or (after and thing["entry"] > after)]


def thing(one: str, entry: int, *, ended: str | None = None, state: str = "firing") -> dict[str, Any]:
    return {"id": one, "entry": entry, "ended": ended, "state": "resolved" if ended else state}


@pytest.fixture
def fires(monkeypatch: pytest.MonkeyPatch) -> Fires:
    fires = Fires()
    monkeypatch.setitem(topic_module._topics, fires.name, fires)
    return fires


async def heard(events: ProgramEvents, fires: Fires, *things: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Event, state and id of each, when these are the things that there are."""
    fires.things = list(things)
    return told(await events.of(lines_of(fires, ["7"])["7"][0]))


def told(text: str) -> list[tuple[str, str, str]]:
    made = []
    for block in filter(None, text.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        made.append((fields["event"], json.loads(fields["data"]).get("state", ""), fields["id"]))
    return made


async def test_of_many_things_only_what_is_new_or_other_is_told(fires: Fires) -> None:
    events = ProgramEvents("e1", "")
    assert await heard(events, fires, thing("1", 10)) == [("fire", "firing", "e1.10")]
    assert await heard(events, fires, thing("1", 10)) == []
    assert await heard(events, fires, thing("1", 11, state="acknowledged"), thing("2", 12)) == [
        ("fire", "acknowledged", "e1.11"),
        ("fire", "firing", "e1.12"),
    ]


async def test_who_was_told_of_a_thing_hears_of_its_end(fires: Fires) -> None:
    events = ProgramEvents("e1", "")
    await heard(events, fires, thing("1", 10))
    assert await heard(events, fires, thing("1", 12, ended="now")) == [("fire", "resolved", "e1.12")]
    assert await heard(events, fires) == []
    assert fires.looked_up == []


async def test_the_end_of_a_thing_that_left_is_looked_up_once(fires: Fires) -> None:
    events = ProgramEvents("e1", "")
    await heard(events, fires, thing("1", 10), thing("2", 11))
    fires.later = [thing("1", 15, ended="now")]
    assert await heard(events, fires, thing("2", 11)) == [("fire", "resolved", "e1.15")]
    assert await heard(events, fires, thing("2", 11)) == []
    assert fires.looked_up == [(0, ["1"])]


async def test_what_ended_before_one_came_is_no_news_but_what_began_and_ended_since_is(fires: Fires) -> None:
    events = ProgramEvents("e1", "")
    assert await heard(events, fires, thing("1", 10, ended="before")) == []
    assert await heard(events, fires, thing("1", 10, ended="before"), thing("2", 12, ended="now")) == [
        ("fire", "resolved", "e1.12")
    ]


async def test_who_comes_again_hears_what_was_missed_whatever_the_epoch(fires: Fires) -> None:
    fires.later = [thing("1", 9), thing("2", 14, ended="meanwhile"), thing("3", 15)]
    events = ProgramEvents("e2", "e1.12")
    assert told(await events.opening([Address("fires", "7")])) == [
        ("fire", "resolved", "e2.14"),
        ("fire", "firing", "e2.15"),
    ]
    assert await heard(events, fires, thing("3", 15), thing("1", 9)) == [("fire", "firing", "e2.15")]


@pytest.mark.parametrize("last", ["", "e1", "e1.", ".5", "e1.x", "e1.-1", "zz.5", "e1.5\n", "e1." + "9" * 30])
async def test_an_id_that_is_none_of_ours_asks_for_nothing(fires: Fires, last: str) -> None:
    assert await ProgramEvents("e1", last).opening([Address("fires", "7")]) == ""
    assert fires.looked_up == []


async def test_a_beat_is_a_heartbeat_every_thirty_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    events = ProgramEvents("e1", "")
    assert [name for name, _, _ in told(await events.of(BEAT))] == ["heartbeat"]
    assert await events.of(BEAT) == ""
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now + 30.1)
    assert [name for name, _, _ in told(await events.of(BEAT))] == ["heartbeat"]


async def test_one_that_is_gone_is_told_so() -> None:
    text = await ProgramEvents("e1", "").of('<template data-gone="server:12"></template>')
    assert text == 'event: server_gone\nid: e1.0\ndata: {"id":"12"}\n\n'


async def test_a_page_gets_the_frame_as_it_is() -> None:
    events = PageEvents("e1")
    assert await events.of("<b>1</b>\n<i>2</i>") == "event: frame\nid: e1.1\ndata: <b>1</b>\ndata: <i>2</i>\n\n"
    assert events.event_id == "e1.1"


def test_only_what_matters_at_once_counts_as_another_content(gauge: Gauge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gauge, "prompt", ("status",))
    data = {"1": {"status": "ok", "cpu": 1.0}}
    monkeypatch.setattr(Gauge, "data", lambda self, keys: data)
    _, before = lines_of(gauge, ["1"])["1"]
    data["1"]["cpu"] = float("nan")
    text, after = lines_of(gauge, ["1"])["1"]
    assert after == before
    assert '"cpu":null' in text
    data["1"]["status"] = "bad"
    assert lines_of(gauge, ["1"])["1"][1] != before
