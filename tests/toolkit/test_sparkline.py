from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from portal.toolkit.sparkline import sparklines

GAP = math.nan


def sparkline(values: Sequence[float], bridged: int = 0) -> str:
    (drawn,) = sparklines(np.array([values]), bridged=bridged)
    return drawn


def test_it_draws_a_line_and_the_area_under_it() -> None:
    drawn = sparkline([0.0, 50.0, 100.0])
    assert 'class="line" d="M0 40l1 -20 1 -20"' in drawn
    assert 'class="area" d="M0 40V40l1 -20 1 -20V40z"' in drawn


def test_a_gap_breaks_the_line() -> None:
    assert 'class="line" d="M0 40l1 0M3 40l1 0"' in sparkline([0.0, 0.0, GAP, 0.0, 0.0])


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    values = [0.0, GAP, GAP, 100.0, GAP, GAP, GAP, 100.0]
    drawn = sparkline(values, bridged=2)
    assert 'class="line" d="M0 40l3 -40M7 0h.1"' in drawn
    assert 'class="area" d="M0 40V40l3 -40V40z"' in drawn


def test_the_end_of_the_data_is_not_drawn_on() -> None:
    assert 'class="line" d="M0 40l1 0"' in sparkline([0.0, 0.0, GAP, GAP], bridged=4)


def test_a_value_alone_is_a_dot_without_an_area() -> None:
    drawn = sparkline([GAP, 100.0, GAP])
    assert 'class="line" d="M1 0h.1"' in drawn
    assert 'class="area" d=""' in drawn


def test_nothing_known_draws_nothing() -> None:
    assert 'class="line" d=""' in sparkline([GAP] * 60)


def test_values_beyond_the_scale_stay_in_the_picture() -> None:
    assert 'd="M0 0l1 40"' in sparkline([250.0, -10.0])


def test_many_lines_are_drawn_as_each_alone() -> None:
    random = np.random.default_rng(7)
    values = np.where(random.random((40, 60)) < 0.4, GAP, random.uniform(-20, 120, (40, 60)))
    values[:3] = random.uniform(0, 100, (3, 60))
    values[5], values[7, :-1] = GAP, GAP
    bridged = random.integers(0, 4, 40)
    assert sparklines(values, bridged=bridged) == [
        sparkline(row, bridged=int(gaps)) for row, gaps in zip(values, bridged, strict=True)
    ]
    assert sparklines(np.empty((0, 60))) == []
