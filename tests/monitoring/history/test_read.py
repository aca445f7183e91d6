"""Reading history back: gaps stay gaps, thinning keeps the time axis true."""

from __future__ import annotations

import numpy as np
import pytest
from django.utils import timezone

from monitoring.history.frame import Frame, SeriesName
from monitoring.history.read import names_of, read
from monitoring.history.record import record
from monitoring.models import Server

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

CPU, MEMORY = SeriesName("cpu"), SeriesName("memory")


@pytest.fixture
def start() -> int:
    return int(timezone.now().timestamp() * 1000) // 60_000 * 60_000 - 1_800_000


def write(server: Server, start: int, steps: range, metric: str = "cpu", offset: int = 0) -> None:
    record([Frame.of(server.pk, start + s * 5000 + offset, {metric: float(s)}) for s in steps], origin="test")


def test_it_gives_the_samples_of_the_half_open_range(server: Server, start: int) -> None:
    write(server, start, range(10))
    tracks = read(server.pk, [CPU], start + 10_000, start + 25_000)
    assert (tracks.at_ms.tolist(), tracks.values[0].tolist()) == (
        [start + 10_000, start + 15_000, start + 20_000],
        [2, 3, 4],
    )


def test_a_gap_breaks_the_line(server: Server, start: int) -> None:
    write(server, start, range(5))
    write(server, start, range(20, 25))
    values = read(server.pk, [CPU], start, start + 200_000).values[0]
    assert np.isnan(values).tolist() == [False] * 5 + [True] + [False] * 5


def test_a_thinned_gap_stays_a_gap(server: Server, start: int) -> None:
    write(server, start, range(120))
    write(server, start, range(240, 360))
    tracks = read(server.pk, [CPU], start, start + 1_800_000, points=60)
    assert tracks.step_ms == 30_000
    assert np.isnan(tracks.values[0][20:40]).all()
    assert not np.isnan(tracks.values[0][:20]).any()


def test_no_peak_vanishes_in_a_thinned_range(server: Server, start: int) -> None:
    values = [50.0] * 360
    values[77], values[78], values[200] = 99.0, 1.0, 0.0
    record([Frame.of(server.pk, start + s * 5000, {"cpu": v}) for s, v in enumerate(values)], origin="test")
    tracks = read(server.pk, [CPU], start, start + 1_800_000, points=60)
    drawn = dict(zip(((tracks.at_ms - start) // 5000).tolist(), tracks.values[0].tolist(), strict=True))
    assert (drawn[72], drawn[78], drawn[198], drawn[192]) == (99.0, 1.0, 0.0, 50.0)
    assert sorted(set(drawn.values())) == [0.0, 1.0, 50.0, 99.0]


def test_series_of_sources_with_clocks_of_their_own_meet_on_a_grid_without_false_gaps(
    server: Server, start: int
) -> None:
    write(server, start, range(60))
    write(server, start, range(60), metric="memory", offset=1700)
    tracks = read(server.pk, [CPU, MEMORY], start, start + 300_000, points=1000)
    assert tracks.step_ms == 10_000
    assert not np.isnan(tracks.values).any()


def test_an_unknown_series_is_all_gaps_and_an_empty_range_is_empty(server: Server, start: int) -> None:
    write(server, start, range(3))
    assert np.isnan(read(server.pk, [CPU, MEMORY], start, start + 60_000).values[1]).all()
    assert len(read(server.pk, [CPU], start - 60_000, start).at_ms) == 0


def test_three_queries_however_long_the_range(server: Server, start: int, django_assert_num_queries: object) -> None:
    write(server, start, range(300))
    with django_assert_num_queries(3):  # type: ignore[operator]
        read(server.pk, [CPU, MEMORY], start, start + 1_800_000, points=100)


def test_names_of_tells_every_series(server: Server, start: int) -> None:
    write(server, start, range(1))
    write(server, start, range(1), metric="memory")
    assert set(names_of(server.pk)) == {CPU, MEMORY}
