"""Samples of batches as the evaluator reads them, and of one series as mails and pages do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring.history.frame import Frame, SeriesName
from monitoring.history.record import record
from monitoring.models import Batch, Collector, Server, ServerTemplate, Source
from monitoring.queries import samples

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

MINUTE_MS = 60_000


@pytest.fixture
def now() -> datetime:
    return timezone.now().replace(microsecond=0)


def ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)


def put(at: datetime, *frames: tuple[Server, dict[str, float]]) -> Batch:
    made = [Frame.of(server.pk, ms(at), values) for server, values in frames]  # type: ignore[arg-type]
    return Batch.objects.get(pk=record(made, origin="test").batch_id)


def read(batches: list[Batch], servers: list[Server], late_ms: int = MINUTE_MS) -> samples.Samples:
    ids = np.array([server.pk for server in servers], np.int64)
    return samples.of_batches(batches, ids, np.zeros(len(ids), np.int64), np.full(len(ids), late_ms))


def listed(found: samples.Samples) -> list[tuple[int, int, int, float]]:
    """(server id, place, at, value), sorted."""
    columns = (found.server_ids, found.places, found.at_ms, found.values)
    return sorted(zip(*(column.tolist() for column in columns), strict=True))


def test_it_gives_the_samples_of_these_batches_and_servers_alone(
    make_server: Callable[..., Server], now: datetime
) -> None:
    one, two, three = make_server("one"), make_server("two"), make_server("three")
    put(now, (one, {"cpu": 1.0}))
    first = put(now + timedelta(seconds=1), (one, {"cpu": 2.0, "memory": 3.0}), (two, {"cpu": 4.0}))
    second = put(now + timedelta(seconds=2), (three, {"cpu": 5.0}), (two, {"cpu": 6.0}))
    at = ms(now)
    assert listed(read([first, second], [one, two])) == [
        (one.pk, 0, at + 1000, 2.0),
        (one.pk, 1, at + 1000, 3.0),
        (two.pk, 0, at + 1000, 4.0),
        (two.pk, 0, at + 2000, 6.0),
    ]


def test_each_sample_says_when_and_with_which_batch_it_arrived(server: Server, now: datetime) -> None:
    batch = put(now, (server, {"cpu": 1.0}))
    found = read([batch], [server])
    assert (found.batch_ids.tolist(), found.arrived_ms.tolist()) == ([batch.pk], [ms(batch.recorded_at)])


def test_gaps_are_no_samples_and_places_stay_true(server: Server, now: datetime) -> None:
    put(now, (server, {"cpu": 1.0, "memory": 2.0, "swap": 3.0}))
    batch = put(now + timedelta(seconds=1), (server, {"cpu": 4.0, "memory": float("nan"), "swap": 6.0}))
    assert [(place, value) for _, place, _, value in listed(read([batch], [server]))] == [(0, 4.0), (2, 6.0)]


def test_late_samples_are_left_out_by_the_tolerance_of_their_server(
    make_server: Callable[..., Server], now: datetime
) -> None:
    one, two = make_server("one"), make_server("two")
    batch = put(now - timedelta(seconds=100), (one, {"cpu": 1.0}), (two, {"cpu": 2.0}))
    ids = np.array([one.pk, two.pk], np.int64)
    found = samples.of_batches([batch], ids, np.zeros(2, np.int64), np.array([60_000, 200_000]))
    assert found.server_ids.tolist() == [two.pk]


def test_without_anything_to_read_nothing_is_asked(server: Server, now: datetime) -> None:
    batch = put(now, (server, {"cpu": 1.0}))
    with CaptureQueriesContext(connection) as queries:
        assert len(read([batch], []).values) == 0
    assert len(queries) == 0


def test_they_are_found_by_their_key_and_never_by_a_scan(make_server: Callable[..., Server], now: datetime) -> None:
    servers = [make_server(f"server {number}") for number in range(100)]
    for second in range(30):
        batch = put(now - timedelta(seconds=second), *((server, {"cpu": 1.0}) for server in servers))
    for statistics in ("SELECT 1", "ANALYZE monitoring_frame"):
        with CaptureQueriesContext(connection) as queries:
            read([batch], servers)
        with connection.cursor() as cursor:
            cursor.execute(statistics)
            cursor.execute(f"EXPLAIN {queries[0]['sql']}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
        assert "Seq Scan" not in plan
        assert plan.count("Index Scan") == 1


def test_the_interval_is_that_of_the_slowest_source_of_the_simulation_or_a_minute(
    make_server: Callable[..., Server],
) -> None:
    template = ServerTemplate.objects.create(name="web", kind="web", profile={})
    sourced, generated, silent = make_server("a"), make_server("b", template=template), make_server("c")
    for url, every_s, paused in (("", 10, False), ("http://x/1", 30, False), ("http://x/2", 90, True)):
        Source.objects.create(
            server=sourced, collector=Collector.PROMETHEUS, url=url, interval_s=every_s, paused=paused
        )
    assert samples.intervals() == {sourced.pk: 30, generated.pk: 5, silent.pk: 60}
    assert samples.intervals([silent.pk]) == {silent.pk: 60}


def test_the_latest_instant_of_a_series_is_not_that_of_its_block(server: Server, now: datetime) -> None:
    put(now - timedelta(seconds=20), (server, {"cpu": 1.0, "memory": 1.0}))
    put(now - timedelta(seconds=10), (server, {"cpu": 1.0}))
    ids = np.full(3, server.pk)
    places = np.array([0, 1, 1])
    after = np.array([0, 0, ms(now) - 20_000]) + 1
    found = samples.latest_of(ids, places, after, now)
    assert found.tolist() == [ms(now) - 10_000, ms(now) - 20_000, 0]
    assert samples.latest_of(ids[:0], places[:0], after[:0], now).tolist() == []


def test_the_last_slot_of_a_block_is_found_too(server: Server, now: datetime) -> None:
    batch = put(now, (server, {f"m{number:02}": float(number) for number in range(64)}))
    assert len(read([batch], [server]).values) == 64
    assert samples.latest_of(np.array([server.pk]), np.array([63]), np.array([1]), now).tolist() == [ms(now)]


def test_recent_samples_and_extremes_of_one_series(server: Server, now: datetime) -> None:
    for second, value in enumerate((3.0, 9.0, 1.0, 9.0)):
        put(now - timedelta(seconds=10 - second), (server, {"cpu": value}))
    start, end = now - timedelta(seconds=10), now - timedelta(seconds=8)
    found = samples.recent(server.pk, "cpu", "", start, end, None)
    assert found.values.tolist() == [[3.0, 9.0]]
    extremes = samples.extremes(server.pk, "cpu", "", start, now)
    assert extremes is not None
    assert (extremes.lowest, extremes.highest) == (1.0, 9.0)
    assert (extremes.lowest_at, extremes.highest_at) == (end, start + timedelta(seconds=1))


def test_a_series_without_samples_has_no_extremes(server: Server, now: datetime) -> None:
    assert samples.extremes(server.pk, "cpu", "", now, now) is None
    assert samples.recent(server.pk, "cpu", "", now, now, 10).values.shape[0] == 1


def test_labels_are_those_of_the_charts() -> None:
    assert samples.metric_label("cpu") == "CPU"
    assert samples.series_label(SeriesName("disk_used_share", '{"mount":"/home"}')) == "/home"
