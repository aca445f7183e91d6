from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from portal.toolkit.sparkline import sparklines, view

GAP = math.nan


def sparkline(values: Sequence[float], bridged: int = 0) -> str:
    """Its points."""
    (drawn,) = sparklines(np.array([values]), bridged=bridged)
    before, points, after = drawn.split('"')
    assert (before, after) == ("<polygon points=", "/>")
    return points


def test_it_draws_a_line_and_the_area_under_it_whose_edges_are_out_of_sight() -> None:
    assert sparkline([0.0, 50.0, 100.0]) == "-3 46 -3 40 0 40 1 20 2 0 5 0 5 46"
    assert view(3) == "0 -2 2 44"


def test_a_gap_is_an_edge_on_either_side() -> None:
    shape = "-3 46 -3 40 0 40 1 40 1 40 1 46 3 46 3 40 3 40 4 40 7 40 7 46"
    assert sparkline([0.0, 0.0, GAP, 0.0, 0.0]) == shape


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    values = [0.0, GAP, GAP, 100.0, GAP, GAP, GAP, 100.0]
    assert sparkline(values, bridged=2) == "-3 46 -3 40 0 40 3 0 3 0 3 46 7 46 7 0 7 0 10 0 10 46"


@pytest.mark.parametrize(
    ("bridged", "shape"),
    [(1, "2 46 2 40 2 40 3 40 3 40 3 46"), (2, "-3 46 -3 40 2 40 3 40 8 40 8 46")],
    ids=["overdue", "may still come"],
)
def test_the_last_value_stands_for_as_long_as_the_next_may_take(bridged: int, shape: str) -> None:
    assert sparkline([GAP, GAP, 0.0, 0.0, GAP, GAP], bridged=bridged) == shape


def test_a_value_alone_is_an_upright_line() -> None:
    assert sparkline([GAP, 100.0, GAP]) == "1 46 1 0 1 0 1 0 1 46"


def test_nothing_known_draws_nothing() -> None:
    assert sparkline([GAP] * 60) == ""


def test_values_beyond_the_scale_stay_in_the_picture() -> None:
    assert sparkline([250.0, -10.0]) == "-3 46 -3 0 0 0 1 40 4 40 4 46"


def test_many_lines_are_drawn_as_each_alone() -> None:
    random = np.random.default_rng(7)
    values = np.where(random.random((40, 60)) < 0.4, GAP, random.uniform(-20, 120, (40, 60)))
    values[:3] = random.uniform(0, 100, (3, 60))
    values[5], values[7, :-1] = GAP, GAP
    bridged = random.integers(0, 4, 40)
    assert sparklines(values, bridged=bridged) == [
        f'<polygon points="{sparkline(row.tolist(), bridged=int(gaps))}"/>'
        for row, gaps in zip(values, bridged, strict=True)
    ]
    assert sparklines(np.empty((0, 60))) == []
