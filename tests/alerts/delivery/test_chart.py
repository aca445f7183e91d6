"""The picture: what it shows, and what it leaves out."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from math import isfinite, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from alerts.delivery.chart import COLUMNS, Wanted, draw, scale, svg, thinned, worst
from monitoring.queries.samples import Tracks
from tests.alerts.delivery.letters import NOW

START = NOW - timedelta(hours=1)
START_MS = int(START.timestamp() * 1000)
WANTED = Wanted(START, NOW, "%", "critical", 85.0, NOW - timedelta(minutes=5), (NOW, 97.0))


def tracks(*values: float, step_s: int = 5) -> Tracks:
    at = START_MS + np.arange(len(values), dtype=np.int64) * step_s * 1000
    return Tracks(at, np.array([values]), 0)


@pytest.mark.parametrize(
    ("values", "unit", "bottom", "top"),
    [
        ([30.0, 97.0], "%", 0.0, 100.0),
        ([90.0, 99.5], "%", 90.0, 100.0),
        ([0.0, 3.2], "%", 0.0, 4.0),
        ([120.0, 480.0], "ms", 0.0, 500.0),
        ([990.0, 1010.0], "", 990.0, 1010.0),
        ([-5.0, 5.0], "", -6.0, 6.0),
    ],
)
def test_the_scale_is_round(values: list[float], unit: str, bottom: float, top: float) -> None:
    assert scale(values, unit) == (bottom, top)


@given(some.lists(some.floats(-1e12, 1e12), min_size=1), some.sampled_from(["%", "ms", ""]))
def test_every_value_has_a_place_on_the_scale(values: list[float], unit: str) -> None:
    bottom, top = scale(values, unit)
    slack = 1e-9 * max(abs(bottom), abs(top))
    assert bottom < top
    assert bottom - slack <= min(values)
    assert max(values) <= top + slack


def test_a_series_without_values_has_no_picture() -> None:
    assert draw(tracks(nan, nan), WANTED) is None
    assert draw(tracks(), WANTED) is None


def test_a_gap_breaks_the_line_and_a_lone_value_is_a_dot() -> None:
    points = [(START_MS, 50.0), (START_MS + 5000, nan), (START_MS + 10_000, 60.0), (START_MS + 15_000, 61.0)]
    drawn = svg(points, WANTED, 0, 100).split('fill="none"')[0].rsplit('d="', 1)[1]
    assert drawn.count("M") == 2
    assert drawn.count("L") == 1
    assert drawn.count("h.1") == 2


def test_the_limit_the_beginning_and_the_value_are_marked() -> None:
    drawn = svg([(START_MS, 50.0)], WANTED, 0, 100)
    assert 'stroke-dasharray="8 5"' in drawn
    assert 'stroke-dasharray="2 3"' in drawn
    assert "<circle" in drawn
    assert "<text" not in drawn


def test_numbers_around_the_picture_are_those_of_its_samples() -> None:
    picture = draw(tracks(50.0, 97.0, nan, 40.0), WANTED)
    assert picture is not None
    assert (picture.lowest, picture.highest, picture.newest) == (40.0, 97.0, 40.0)
    assert (picture.bottom, picture.top) == (0.0, 100.0)


@given(some.integers(600, 900), some.integers(0, 2**32 - 1), some.sampled_from([0.0, 0.1, 0.9]))
def test_thinning_keeps_every_gap_and_both_extremes(count: int, seed: int, gaps: float) -> None:
    random = np.random.default_rng(seed)
    at, numbers = np.arange(count, dtype=np.int64), random.uniform(0, 100, count)
    numbers[random.uniform(0, 1, count) < gaps] = nan
    values = numbers.tolist()
    kept = thinned(at, numbers).tolist()
    left = [values[place] for place in kept]
    known = [value for value in values if isfinite(value)]
    assert all(before < after for before, after in pairwise(kept))
    assert sum(map(isfinite, left)) <= 2 * (COLUMNS + 1)
    assert len(left) - sum(map(isfinite, left)) == len(values) - len(known)
    if known:
        assert max(filter(isfinite, left)) == max(known)
        assert min(filter(isfinite, left)) == min(known)


def test_the_worst_is_looked_for_since_it_began() -> None:
    some_tracks = tracks(99.0, 50.0, 90.0, 95.0, nan, 20.0)
    began = START + timedelta(seconds=5)
    assert worst(some_tracks, began, below=False) == (START + timedelta(seconds=15), 95.0)
    assert worst(some_tracks, began, below=True) == (START + timedelta(seconds=25), 20.0)
    assert worst(some_tracks, NOW, below=False) is None
