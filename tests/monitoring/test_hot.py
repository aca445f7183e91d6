"""The hot layer against a real Redis: fast, and never the only place where something is."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
import redis
from django.utils import timezone
from redis.backoff import NoBackoff
from redis.retry import Retry

from monitoring import hot, hot_lines
from monitoring.history.frame import Floats, Frame, SeriesName
from monitoring.history.record import record
from monitoring.hot_table import newest_of_metrics
from monitoring.models import Server
from portal.toolkit import redis as portal_redis

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

CPU, MEMORY = SeriesName("cpu"), SeriesName("memory")


@pytest.fixture
def now() -> int:
    return int(timezone.now().timestamp() * 1000) // 5000 * 5000


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of a port where nobody listens."""
    away = redis.Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 1))
    monkeypatch.setattr(hot, "client", lambda: away)


def test_newest_tells_instant_and_value_of_every_series(server: Server, now: int) -> None:
    record([Frame.of(server.pk, now, {"cpu": 12.5, "memory": 40.0})], origin="test")
    assert hot.newest([server.pk]) == {server.pk: {CPU: (now, 12.5), MEMORY: (now, 40.0)}}
    assert hot.newest_at([server.pk]) == {server.pk: now}


def test_a_late_frame_never_overwrites_a_newer_one(server: Server, now: int) -> None:
    record([Frame.of(server.pk, now, {"cpu": 2.0})], origin="test")
    record([Frame.of(server.pk, now - 60_000, {"cpu": 1.0})], origin="test")
    assert hot.newest([server.pk])[server.pk][CPU] == (now, 2.0)


def test_two_sources_of_one_server_do_not_hide_each_other(server: Server, now: int) -> None:
    record([Frame.of(server.pk, now - 1000, {"cpu": 1.0})], origin="test")
    record([Frame.of(server.pk, now, {"memory": 2.0})], origin="test")
    assert hot.newest([server.pk])[server.pk] == {CPU: (now - 1000, 1.0), MEMORY: (now, 2.0)}


def test_of_many_shapes_of_one_sender_the_oldest_is_forgotten(server: Server, now: int) -> None:
    for number in range(hot.CUTS_KEPT + 5):
        record([Frame.of(server.pk, now - 60_000 + number, {f"metric_{number}": 1.0})], origin="test")
    names = {name.metric for name in hot.newest([server.pk])[server.pk]}
    assert names == {f"metric_{number}" for number in range(5, hot.CUTS_KEPT + 5)}


def test_of_a_server_with_thousands_of_series_none_is_forgotten(server: Server, now: int) -> None:
    values = {"cpu": 12.5} | {f"metric_{number}": float(number) for number in range(64 * (hot.CUTS_KEPT + 4))}
    for step in range(2):
        record([Frame.of(server.pk, now + step, values)], origin="test")
    assert hot.newest([server.pk])[server.pk] == {
        SeriesName(metric): (now + 1, value) for metric, value in values.items()
    }


def test_the_first_value_of_an_instant_stays_as_in_history(server: Server, now: int) -> None:
    for value in (1.0, 2.0):
        record([Frame.of(server.pk, now, {"cpu": value})], origin="test")
    assert hot.newest([server.pk])[server.pk][CPU] == (now, 1.0)


def test_a_value_of_a_future_that_cannot_be_gives_way(
    server: Server, now: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock was an hour fast and was set back."""
    an_hour_ahead = timezone.now() + timedelta(hours=1)
    with monkeypatch.context() as fast_clock:
        fast_clock.setattr(timezone, "now", lambda: an_hour_ahead)
        record([Frame.of(server.pk, now + 3_600_000, {"cpu": 1.0})], origin="test")
    record([Frame.of(server.pk, now, {"cpu": 2.0})], origin="test")
    assert hot.newest([server.pk])[server.pk][CPU] == (now, 2.0)


def test_after_a_flush_the_newest_values_come_from_postgresql_and_are_put_back(server: Server, now: int) -> None:
    record([Frame.of(server.pk, now, {"cpu": 12.5})], origin="test")
    portal_redis.client().flushdb()
    assert hot.newest([server.pk])[server.pk] == {CPU: (now, 12.5)}
    assert portal_redis.client().hexists(hot.NEWEST, str(server.pk))


def test_after_a_flush_a_server_that_is_read_hourly_has_its_values(server: Server, now: int) -> None:
    record([Frame.of(server.pk, now - 3_000_000, {"cpu": 12.5})], origin="test")
    portal_redis.client().flushdb()
    assert hot.newest([server.pk])[server.pk] == {CPU: (now - 3_000_000, 12.5)}


def test_a_server_without_data_is_looked_up_once(
    server: Server, django_assert_num_queries: Callable[..., object]
) -> None:
    assert hot.newest([server.pk]) == {server.pk: {}}
    with django_assert_num_queries(0):
        assert hot.newest([server.pk]) == {server.pk: {}}


@pytest.mark.usefixtures("redis_away")
def test_without_redis_samples_are_kept_and_read_from_postgresql(server: Server, now: int) -> None:
    assert record([Frame.of(server.pk, now, {"cpu": 12.5})], origin="test").kept == 1
    assert hot.newest([server.pk])[server.pk] == {CPU: (now, 12.5)}
    assert np.isnan(hot_lines.recent([server.pk], 3)).tolist() == [[True] * 3]


def known(values: Floats) -> list[float]:
    return [float(value) for value in values.ravel() if not np.isnan(value)]


def test_recent_gives_one_number_per_slot_and_none_for_gaps(server: Server, now: int) -> None:
    record([Frame.of(server.pk, now - back * 5000, {"cpu": float(back)}) for back in (0, 1, 3)], origin="test")
    (values,) = hot_lines.recent([server.pk], 6)
    assert known(values) == [3.0, 1.0, 0.0]
    assert np.isnan(values[values.tolist().index(3.0) + 1])


def test_what_has_no_number_for_it_leaves_the_line_alone(server: Server, now: int) -> None:
    record([Frame.of(server.pk, now, {"cpu": 5.0})], origin="test")
    record([Frame.of(server.pk, now, {"memory": 9.0})], origin="another")
    assert known(hot_lines.recent([server.pk], 2)) == [5.0]


def test_of_a_whole_ring_ago_nothing_shows_and_what_is_late_does_not_hide_what_is_new(server: Server, now: int) -> None:
    ring_ms = hot_lines.SLOT_MS * hot_lines.SLOTS_KEPT
    for at_ms in (now, now - ring_ms):
        pipeline = portal_redis.client().pipeline()
        hot_lines.queue(pipeline, {at_ms // hot_lines.SLOT_MS: {server.pk: 7.0}})
        pipeline.execute()
    assert known(hot_lines.recent([server.pk])) == [7.0]
    portal_redis.client().flushdb()
    pipeline = portal_redis.client().pipeline()
    hot_lines.queue(pipeline, {(now - ring_ms) // hot_lines.SLOT_MS: {server.pk: 7.0}})
    pipeline.execute()
    assert known(hot_lines.recent([server.pk])) == []


def test_everything_in_redis_expires(server: Server, now: int) -> None:
    record([Frame.of(server.pk, now, {"cpu": 1.0})], origin="test")
    assert {key: portal_redis.client().ttl(key) > 0 for key in portal_redis.client().keys("hot:*")} == {
        hot.NEWEST.encode(): True,
        f"hot:cpu:{server.pk}".encode(): True,
    }


def test_a_table_has_the_newest_of_each_metric_whichever_source_gave_it(
    make_server: Callable[..., Server], now: int
) -> None:
    both, silent = make_server("both"), make_server("silent")
    record([Frame.of(both.pk, now - 1000, {"swap": 9.0, "cpu": 1.0})], origin="test")
    record([Frame.of(both.pk, now, {"net_tx": 2.0, "load1": 9.0})], origin="test")
    table = newest_of_metrics([both.pk, silent.pk], ("cpu", "memory", "net_tx"))
    assert table.at_ms.tolist() == [now, 0]
    np.testing.assert_array_equal(table.values, [[1.0, math.nan, 2.0], [math.nan] * 3])


def test_after_a_flush_the_last_minutes_are_put_back_once(server: Server, now: int) -> None:
    frames = [Frame.of(server.pk, now - back * 5000, {"cpu": float(back), "swap": 1.0}) for back in (0, 1, 3)]
    record(frames, origin="test")
    before = hot_lines.recent([server.pk], 6)
    portal_redis.client().flushdb()
    assert hot.rebuild_recent(timezone.now())
    after = hot_lines.recent([server.pk], 6)
    assert known(after) == known(before) == [3.0, 1.0, 0.0]
    assert not hot.rebuild_recent(timezone.now())
