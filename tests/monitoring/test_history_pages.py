"""Pages of history: the reader that walks to the next rows, and the API's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monitoring.history import horizon
from monitoring.history.compact import compact_due
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.late import merge_late
from monitoring.history.paging import page
from monitoring.history.partitions import HOUR_MS
from monitoring.history.read import read
from monitoring.history.record import record
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Server
from portal.toolkit.instants import from_ms
from tests.monitoring.history.conftest import DAY_MS, empty_history

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

CPU, MEMORY = SeriesName("cpu"), SeriesName("memory")
NAMES = [CPU, MEMORY]
MOST_QUERIES = 14


@pytest.fixture
def past() -> int:
    """Midnight (UTC) three days ago, epoch ms: from here on, whole days can be sealed."""
    return (int(timezone.now().timestamp() * 1000) // DAY_MS - 3) * DAY_MS


def keep(server: Server, instants: list[int], metric: str = "cpu") -> None:
    record([Frame.of(server.pk, at, {metric: float(at % 997)}) for at in instants], origin="test")
    Batch.objects.update(evaluated_at=timezone.now())


def seal_until(at_ms: int) -> None:
    seal_due(from_ms(at_ms + horizon.GRACE_MS))


def walked(server: Server, start_ms: int, end_ms: int, *, backwards: bool, limit: int) -> list[tuple[int, ...]]:
    """All rows of the range, page by page, as (instant, values …) with None for a gap, in the order walked."""
    rows: list[tuple[int, ...]] = []
    while True:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            one = page(server.pk, NAMES, start_ms, end_ms, backwards=backwards, limit=limit)
        assert len(queries) <= MOST_QUERIES
        found = rows_of(one.at_ms, one.values)
        rows += reversed(found) if backwards else found
        if not one.is_more:
            return rows
        assert len(found) == limit
        start_ms, end_ms = (start_ms, int(one.at_ms[0])) if backwards else (int(one.at_ms[-1]) + 1, end_ms)


def rows_of(at_ms: Any, values: Any) -> list[tuple[int, ...]]:
    there = ~np.isnan(values).all(axis=0)
    columns = [[None if np.isnan(one) else one for one in row[there].tolist()] for row in values]
    return list(zip(at_ms[there].tolist(), *columns, strict=True))


def everything(server: Server, start_ms: int, end_ms: int) -> list[tuple[int, ...]]:
    tracks = read(server.pk, NAMES, start_ms, end_ms)
    return rows_of(tracks.at_ms, tracks.values)


def test_a_page_has_the_newest_rows_and_says_that_there_are_more(server: Server, past: int) -> None:
    keep(server, [past + step * 5000 for step in range(30)])
    one = page(server.pk, [CPU], past, past + DAY_MS, backwards=True, limit=10)
    assert one.at_ms.tolist() == [past + step * 5000 for step in range(20, 30)]
    assert one.is_more
    assert not page(server.pk, [CPU], past, past + DAY_MS, backwards=False, limit=30).is_more


def test_every_row_comes_once_through_warm_late_sealed_and_compacted_history(server: Server, past: int) -> None:
    keep(server, list(range(past, past + 3 * HOUR_MS, 60_000)))
    keep(server, list(range(past + 7, past + DAY_MS, 5 * HOUR_MS)), "memory")
    seal_until(past + DAY_MS)
    compact_due(from_ms(past + DAY_MS + horizon.GRACE_MS))
    keep(server, list(range(past + DAY_MS, past + DAY_MS + 5 * HOUR_MS, 120_000)))
    seal_until(past + DAY_MS + 3 * HOUR_MS)
    keep(server, [past + 10_000, past + DAY_MS + 10_000, past + 20 * HOUR_MS])
    expected = everything(server, past, past + 2 * DAY_MS)
    assert len(expected) > 300
    for limit in (7, 100):
        assert walked(server, past, past + 2 * DAY_MS, backwards=False, limit=limit) == expected
        assert walked(server, past, past + 2 * DAY_MS, backwards=True, limit=limit) == expected[::-1]


@pytest.mark.parametrize("backwards", [True, False])
def test_a_sparse_series_of_months_takes_no_more_queries_than_a_dense_one(
    server: Server, settings: Any, backwards: bool, django_assert_max_num_queries: Any
) -> None:
    settings.RETENTION_DAYS = 200
    first = (int(timezone.now().timestamp() * 1000) // DAY_MS - 150) * DAY_MS
    keep(server, [first + day * DAY_MS + 1234 for day in range(0, 140, 4)])
    seal_until(first + 145 * DAY_MS)
    with django_assert_max_num_queries(7):
        one = page(server.pk, [CPU], 0, first + 150 * DAY_MS, backwards=backwards, limit=30)
    assert (len(one.at_ms), one.is_more) == (30, True)


def test_a_cursor_stays_where_it_is_while_samples_arrive_and_are_sealed_and_merged(server: Server, past: int) -> None:
    keep(server, list(range(past, past + 2 * HOUR_MS, 30_000)))
    expected = everything(server, past, past + DAY_MS)[::-1]
    bound, seen = past + DAY_MS, []
    for number in range(10):
        one = page(server.pk, NAMES, past, bound, backwards=True, limit=30)
        seen += rows_of(one.at_ms, one.values)[::-1]
        bound = int(one.at_ms[0])
        keep(server, [past + 3 * HOUR_MS + number])
        if number in {2, 5}:
            seal_until(past + (1 if number == 2 else 4) * HOUR_MS)
        if number == 7:
            keep(server, [past + 119 * 60_000 + 1])  # newer than the cursor: of no later page
            merge_late()
        if not one.is_more:
            break
    assert seen == expected


def test_two_cuts_of_one_instant_are_one_row(server: Server, past: int) -> None:
    keep(server, [past])
    keep(server, [past], "memory")
    one = page(server.pk, NAMES, past, past + 1, backwards=True, limit=10)
    assert rows_of(one.at_ms, one.values) == [(past, past % 997, past % 997)]


def test_a_server_without_the_series_has_no_rows(server: Server, past: int) -> None:
    one = page(server.pk, [SeriesName("nothing")], past, past + DAY_MS, backwards=True, limit=10)
    assert (len(one.at_ms), one.is_more) == (0, False)


STEPS = st.lists(st.tuples(st.integers(0, 2879), st.sampled_from(["cpu", "memory"])), min_size=1, max_size=60)


@given(kept=STEPS, sealed_hours=st.integers(0, 47), late=STEPS, limit=st.integers(1, 20))
@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_pages_together_are_what_read_gives(
    server: Server, past: int, kept: Any, sealed_hours: int, late: Any, limit: int
) -> None:
    empty_history()
    for minute, metric in kept:
        keep(server, [past + minute * 60_000], metric)
    seal_until(past + sealed_hours * HOUR_MS)
    for minute, metric in late[:10]:
        keep(server, [past + minute * 60_000 + 1], metric)
    expected = everything(server, past, past + 2 * DAY_MS)
    assert walked(server, past, past + 2 * DAY_MS, backwards=True, limit=limit) == expected[::-1]
    assert walked(server, past, past + 2 * DAY_MS, backwards=False, limit=limit) == expected
