"""The one door into history, against a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
import pytest
from django.conf import settings
from django.db import connection, connections
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monitoring import hot
from monitoring.history import partitions, series
from monitoring.history.frame import Frame, SeriesName, canonical_labels
from monitoring.history.read import read
from monitoring.history.record import record
from monitoring.models import Batch, Series, Server, WarmFrame
from monitoring.signals import samples_recorded

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]


def now_ms() -> int:
    return int(timezone.now().timestamp() * 1000)


def kept(server: Server, metric: str, at_ms: int) -> list[float]:
    tracks = read(server.pk, [SeriesName(metric)], at_ms - 3_600_000, at_ms + 3_600_000)
    return tracks.values[0].tolist()


def test_it_keeps_a_frame_and_one_batch_row(server: Server) -> None:
    at = now_ms()
    recorded = record([Frame.of(server.pk, at, {"cpu": 12.5, "memory": 40.0})], origin="test")
    batch = Batch.objects.get()
    assert (recorded.kept, recorded.refused, recorded.batch_id) == (2, [], batch.pk)
    assert (batch.server_ids, batch.samples, batch.origin) == ([server.pk], 2, "test")
    assert WarmFrame.objects.get().batch_id == batch.pk
    assert kept(server, "cpu", at) == [12.5]


def test_the_same_body_repeated_changes_nothing(server: Server) -> None:
    at = now_ms()
    for value in (1.0, 2.0):
        record([Frame.of(server.pk, at, {"cpu": value})], origin="test")
    assert WarmFrame.objects.count() == 1
    assert kept(server, "cpu", at) == [1.0]


def test_another_cut_of_an_instant_is_kept_and_the_first_value_wins(server: Server) -> None:
    at = now_ms()
    record([Frame.of(server.pk, at, {"cpu": 1.0, "memory": 2.0})], origin="test")
    record([Frame.of(server.pk, at, {"memory": 9.0, "disk": 3.0})], origin="test")
    assert [kept(server, metric, at) for metric in ("cpu", "memory", "disk")] == [[1.0], [2.0], [3.0]]


def test_values_come_back_to_the_last_bit(server: Server) -> None:
    at = now_ms()
    record([Frame.of(server.pk, at, {"cpu": 0.1 + 0.2, "memory": -0.0, "disk": 1e308})], origin="test")
    assert [kept(server, metric, at)[0] for metric in ("cpu", "memory", "disk")] == [0.1 + 0.2, -0.0, 1e308]


def test_nan_is_a_gap_and_infinity_is_refused_by_name(server: Server) -> None:
    at = now_ms()
    frame = Frame.of(server.pk, at, {"cpu": float("nan"), "memory": float("inf"), "disk": 5.0})
    recorded = record([frame], origin="test")
    assert (recorded.kept, recorded.gaps) == (1, 1)
    assert [(refusal.metric, refusal.reason) for refusal in recorded.refused] == [
        ("memory", "infinity is not a measurement")
    ]
    assert kept(server, "disk", at) == [5.0]


def test_instants_outside_the_window_are_refused_with_the_reason_and_the_rest_is_kept(server: Server) -> None:
    now = now_ms()
    old, future = now - (settings.RETENTION_DAYS + 1) * 86_400_000, now + 600_000
    recorded = record([Frame.of(server.pk, at, {"cpu": 1.0}) for at in (old, now, future)], origin="test")
    assert [refusal.reason for refusal in recorded.refused] == [
        f"older than the retention of {settings.RETENTION_DAYS} days",
        "more than 5 minutes in the future",
    ]
    assert recorded.kept == 1


def test_a_frame_of_an_unknown_server_is_refused_and_the_others_are_kept(server: Server) -> None:
    recorded = record([Frame.of(i, now_ms(), {"cpu": 1.0}) for i in (server.pk, server.pk + 999)], origin="test")
    assert [(r.server_id, r.reason) for r in recorded.refused] == [(server.pk + 999, "there is no such server")]
    assert recorded.kept == 1


def test_refused_frames_make_no_series(server: Server) -> None:
    record([Frame.of(server.pk, now_ms() + 600_000, {"cpu": 1.0})], origin="test")
    assert not Series.objects.exists()


def test_a_series_named_twice_in_a_frame_counts_once_and_moves_no_other(server: Server) -> None:
    at = now_ms()
    layout = tuple(SeriesName(metric) for metric in ("cpu", "cpu", "memory", "swap"))
    recorded = record([Frame(server.pk, at, layout, np.array([1.0, 2.0, 3.0, 4.0]))], origin="test")
    assert [kept(server, metric, at) for metric in ("cpu", "memory", "swap")] == [[1.0], [3.0], [4.0]]
    assert (recorded.kept, recorded.gaps) == (3, 0)
    assert hot.newest([server.pk])[server.pk][SeriesName("swap")] == (at, 4.0)


def test_an_empty_frame_leaves_nothing(server: Server) -> None:
    recorded = record([Frame.of(server.pk, now_ms(), {})], origin="test")
    assert (recorded.kept, recorded.gaps, recorded.refused, Batch.objects.count()) == (0, 0, [], 0)


def test_a_new_series_among_known_ones_makes_no_server_unknown_when_the_memory_of_plans_is_full(
    make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, new = make_server("known"), make_server("new")
    monkeypatch.setattr(series, "CACHED_SERIES", 2)
    record([Frame.of(known.pk, now_ms(), {"cpu": 1.0, "memory": 1.0})], origin="test")
    both = [Frame.of(pk, now_ms(), {"cpu": 1.0, "memory": 1.0}) for pk in (known.pk, new.pk)]
    recorded = record(both, origin="test")
    assert (recorded.kept, recorded.refused) == (4, [])


def test_layouts_that_never_come_again_do_not_fill_the_memory(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "CACHED_SERIES", 100)
    for number in range(30):
        values = {SeriesName("pod", canonical_labels({"pod": f"{number}-{part}"})): 1.0 for part in range(20)}
        record([Frame.of(server.pk, now_ms() + number, values)], origin="test")
    assert sum(len(layout) for _server, layout in series._plans) <= 100


def test_a_frame_of_gaps_alone_leaves_no_row_and_no_batch(server: Server) -> None:
    recorded = record([Frame.of(server.pk, now_ms(), {"cpu": float("nan")})], origin="test")
    assert (recorded.batch_id, recorded.gaps, Batch.objects.count()) == (None, 1, 0)


def test_more_than_64_series_go_into_several_blocks(server: Server) -> None:
    at = now_ms()
    values = {SeriesName("cpu_core", canonical_labels({"core": str(core)})): float(core) for core in range(150)}
    record([Frame.of(server.pk, at, values)], origin="test")
    assert set(Series.objects.values_list("block", flat=True)) == {0, 1, 2}
    tracks = read(server.pk, list(values), at, at + 1)
    assert tracks.values[:, 0].tolist() == list(values.values())


def test_it_makes_the_partition_of_the_hour_and_makes_it_again_after_it_was_dropped(server: Server) -> None:
    at = now_ms() - 5 * partitions.HOUR_MS
    record([Frame.of(server.pk, at, {"cpu": 1.0})], origin="test")
    assert partitions.hour_of(at) in partitions.existing()
    partitions._known.add(partitions.hour_of(at))
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE {partitions.partition_name(partitions.hour_of(at))}")
    record([Frame.of(server.pk, at, {"cpu": 2.0})], origin="test")
    assert kept(server, "cpu", at) == [2.0]


def test_a_receiver_that_fails_does_not_undo_the_commit(server: Server) -> None:
    def fail(**_signal: object) -> None:
        raise RuntimeError("broken receiver")

    samples_recorded.connect(fail)
    try:
        assert record([Frame.of(server.pk, now_ms(), {"cpu": 1.0})], origin="test").kept == 1
    finally:
        samples_recorded.disconnect(fail)


def test_many_frames_cost_as_many_queries_as_one(
    make_server: Callable[..., Server],
    django_assert_max_num_queries: Callable[..., AbstractContextManager[object]],
    django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[object]],
) -> None:
    servers = [make_server(f"s{number}") for number in range(50)]
    at = now_ms()
    with django_capture_on_commit_callbacks(execute=True):
        record([Frame.of(server.pk, at, {"cpu": 1.0}) for server in servers], origin="test")
    with django_assert_max_num_queries(6):  # savepoint, batch, temp table, COPY, INSERT, release
        record([Frame.of(server.pk, at + 5000, {"cpu": 1.0}) for server in servers], origin="test")


@pytest.mark.django_db(transaction=True)
def test_writers_side_by_side_give_each_series_one_place_and_lose_nothing(make_server: Callable[..., Server]) -> None:
    server, at = make_server(), now_ms()

    def write(number: int) -> int:
        try:
            values = {f"metric_{(number + step) % 40}": float(step) for step in range(30)}
            return record([Frame.of(server.pk, at + number, values)], origin="test").kept
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(40))) == 40 * 30
    assert Series.objects.count() == 40
    tracks = read(server.pk, [SeriesName(f"metric_{number}") for number in range(40)], at, at + 1000)
    assert int((~np.isnan(tracks.values)).sum()) == 40 * 30


numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
cuts = st.lists(
    st.tuples(
        st.integers(0, 5), st.dictionaries(st.sampled_from(["cpu", "memory", "disk", "swap"]), numbers, min_size=1)
    ),
    min_size=1,
    max_size=12,
)


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts)
def test_whatever_the_cuts_each_series_keeps_its_first_value_of_each_instant(
    server: Server, cuts: list[tuple[int, dict[str, float]]]
) -> None:
    WarmFrame.objects.all()._raw_delete(connection.alias)
    start = now_ms() - 60_000
    expected: dict[tuple[str, int], float] = {}
    for step, values in cuts:
        record([Frame.of(server.pk, start + step * 5000, values)], origin="test")
        for metric, value in values.items():
            expected.setdefault((metric, start + step * 5000), value)
    metrics = sorted({metric for metric, _ in expected})
    for metric in metrics:
        tracks = read(server.pk, [SeriesName(metric)], start, start + 60_000)
        found = {
            (metric, at): value
            for at, value in zip(tracks.at_ms.tolist(), tracks.values[0], strict=True)
            if value == value
        }
        assert found == {key: value for key, value in expected.items() if key[0] == metric}
