"""A counter is kept as it was sent, and shown as its increase per second."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from monitoring.history.frame import Frame, SeriesName
from monitoring.history.read import read
from monitoring.history.record import record
from monitoring.models import Metric, Server
from monitoring.queries.server import SamplesAsked, samples_json

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

EVERY_MS = 15_000
START_MS = int(time.time()) * 1000 // 60_000 * 60_000 - 3_600_000


@pytest.fixture
def server(make_server: Any) -> Server:
    made: Server = make_server("alpha")
    return made


def keep(server: Server, values: list[float | None], *, every_ms: int = EVERY_MS) -> None:
    """A counter `hits` and a gauge `load1` of 1; None where there is no sample."""
    frames = [
        Frame.of(server.pk, START_MS + number * every_ms, {"hits": value, "load1": 1.0})
        for number, value in enumerate(values)
        if value is not None
    ]
    record(frames, origin="test")
    Metric.objects.filter(name="hits").update(is_counter=True)


def shown(server: Server, start: int, end: int, *, points: int = 2000, every_ms: int = EVERY_MS) -> dict[str, Any]:
    """What the page fetches of the samples `start` ≤ number < `end`: the answer with its series by metric."""
    asked = SamplesAsked(START_MS + start * every_ms, START_MS + end * every_ms, frozenset({"hits", "load1"}), points)
    answer: dict[str, Any] = json.loads(samples_json(server.pk, asked))
    return answer | {one["metric"]: one for one in answer["series"]}


def test_a_counter_is_shown_per_second_and_kept_as_it_is(server: Server) -> None:
    keep(server, [100, 130, 190, 190])
    answer = shown(server, 0, 4)
    assert answer["hits"]["values"] == [None, 2, 4, 0]
    assert (answer["hits"]["unit"], answer["hits"]["counter"]) == ("1/s", True)
    assert answer["load1"]["values"] == [1, 1, 1, 1]
    assert "counter" not in answer["load1"]
    tracks = read(server.pk, [SeriesName("hits")], START_MS, START_MS + 4 * EVERY_MS)
    assert tracks.values.tolist() == [[100, 130, 190, 190]]


def test_a_counter_that_went_down_has_started_from_zero(server: Server) -> None:
    keep(server, [100, 130, 15, 30])
    assert shown(server, 0, 4)["hits"]["values"] == [None, 2, 1, 1]


def test_the_sample_before_the_first_one_counts(server: Server) -> None:
    keep(server, [100, 130, 190, 190])
    assert shown(server, 2, 4)["hits"]["values"] == [4, 0]


def test_across_a_gap_there_is_no_rate(server: Server) -> None:
    keep(server, [0, 15, 30, 45, None, None, None, 900, 915])
    values = shown(server, 0, 9)["hits"]["values"]
    assert [value for value in values if value is not None] == [1, 1, 1, 1]


@pytest.mark.parametrize("points", [30, 10], ids=["buckets of half a minute", "buckets of minutes"])
def test_a_thinned_picture_shows_the_same_rate(server: Server, points: int) -> None:
    keep(server, [15.0 * number for number in range(40)])
    answer = shown(server, 0, 40, points=points)
    assert answer["step"] > EVERY_MS
    assert set(answer["hits"]["values"][1:-1]) == {1}


def test_a_restart_within_a_bucket_is_no_negative_rate(server: Server) -> None:
    keep(server, [(15.0 * number) % 210 for number in range(40)])
    for points in (30, 10):
        assert all(value is None or 0 <= value <= 1 for value in shown(server, 0, 40, points=points)["hits"]["values"])


def test_a_counter_without_samples_has_none(server: Server) -> None:
    keep(server, [1.0])
    assert shown(server, 2, 4)["hits"]["values"] == []
    assert shown(server, 0, 1)["hits"]["values"] == [None]
