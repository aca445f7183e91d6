"""Sealing, merging and compacting: the same history, whatever the order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monitoring import hot
from monitoring.history import compact, horizon, late, partitions, seal
from monitoring.history.compact import compact_due
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.late import merge_late
from monitoring.history.read import newest_instants, read, read_buckets
from monitoring.history.record import record
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Chunk, LateFrame, Rollup, Segment, Server, WarmFrame
from portal.toolkit.instants import from_ms
from portal.toolkit.redis import client
from tests.monitoring.history.conftest import DAY_MS, empty_history

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

HOUR_MS = partitions.HOUR_MS
CPU = SeriesName("cpu")


def keep(server: Server, at_ms: int, **values: float) -> None:
    record([Frame.of(server.pk, at_ms, values)], origin="test")
    Batch.objects.update(evaluated_at=timezone.now())


def seal_until(at_ms: int) -> list[int]:
    return seal_due(from_ms(at_ms + horizon.GRACE_MS))


def kept(server: Server, start_ms: int, metric: str = "cpu") -> dict[int, float]:
    tracks = read(server.pk, [SeriesName(metric)], start_ms - DAY_MS, start_ms + 4 * DAY_MS)
    found = zip(tracks.at_ms.tolist(), tracks.values[0].tolist(), strict=True)
    return {at: value for at, value in found if value == value}


def test_a_sealed_hour_reads_as_before_and_its_partition_is_gone(server: Server, past: int) -> None:
    for step in range(20):
        keep(server, past + step * 5000, cpu=float(step), memory=50.0)
    before = read(server.pk, [CPU, SeriesName("memory")], past, past + HOUR_MS)
    assert seal_until(past + HOUR_MS) == [past // HOUR_MS]
    after = read(server.pk, [CPU, SeriesName("memory")], past, past + HOUR_MS)
    assert (after.at_ms.tolist(), after.values.tolist()) == (before.at_ms.tolist(), before.values.tolist())
    assert (WarmFrame.objects.count(), partitions.existing()) == (0, [])


def test_series_of_one_server_share_their_instants(server: Server, past: int) -> None:
    for step in range(20):
        keep(server, past + step * 5000, cpu=float(step), memory=50.0, disk=1.0)
    keep(server, past + 1, swap=1.0)
    seal_until(past + HOUR_MS)
    assert (Segment.objects.count(), Chunk.objects.count()) == (2, 4)


def test_an_hour_is_not_sealed_before_it_is_over_by_the_grace(server: Server, past: int) -> None:
    keep(server, past, cpu=1.0)
    assert seal_due(from_ms(past + HOUR_MS + horizon.GRACE_MS - 1)) == []
    assert seal_due(from_ms(past + HOUR_MS + horizon.GRACE_MS)) == [past // HOUR_MS]


def test_batches_that_nobody_evaluated_hold_an_hour_up_but_not_for_ever(server: Server, past: int) -> None:
    keep(server, past, cpu=1.0)
    Batch.objects.update(evaluated_at=None)
    over = past + HOUR_MS + horizon.GRACE_MS
    assert seal_due(from_ms(over + seal.HELD_AT_MOST_MS - 1)) == []
    assert seal_due(from_ms(over + seal.HELD_AT_MOST_MS)) == [past // HOUR_MS]


@pytest.mark.parametrize("value", [-0.0, 5e-324, -5e-324, 1.7976931348623157e308, 0.1 + 0.2])
def test_a_value_comes_back_to_the_last_bit(server: Server, past: int, value: float) -> None:
    for step in range(30):
        keep(server, past + step * 5000, cpu=value if step % 3 else step * 0.1)
    seal_until(past + DAY_MS)
    compact_due(timezone.now())
    found = np.array([value for at, value in sorted(kept(server, past).items())])
    expected = np.array([value if step % 3 else step * 0.1 for step in range(30)])
    assert found.view(np.int64).tolist() == expected.view(np.int64).tolist()


def test_a_frame_behind_the_horizon_is_read_at_once_and_merged_later(server: Server, past: int) -> None:
    keep(server, past + 5000, cpu=1.0)
    seal_until(past + HOUR_MS)
    keep(server, past, cpu=0.0, memory=7.0)
    keep(server, past + 5000, cpu=9.0)
    assert (LateFrame.objects.count(), partitions.existing()) == (2, [])
    expected = {past: 0.0, past + 5000: 1.0}
    assert kept(server, past) == expected
    assert merge_late() == 1
    assert LateFrame.objects.count() == 0
    assert (kept(server, past), kept(server, past, "memory")) == (expected, {past: 7.0})


def test_a_frame_that_slipped_into_a_sealed_hour_is_kept(server: Server, past: int) -> None:
    keep(server, past, cpu=1.0)
    hour = past // HOUR_MS
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "retire", lambda hour: False)  # the partition is still there when the frame comes
        seal_until(past + HOUR_MS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monitoring.history.record._sealed_ms", lambda oldest_ms: 0)  # looked before it was sealed
        keep(server, past + 5000, cpu=2.0)
    assert partitions.existing() == [hour]
    assert seal_until(past + HOUR_MS) == []
    assert (partitions.existing(), LateFrame.objects.count()) == ([], 1)
    merge_late()
    assert kept(server, past) == {past: 1.0, past + 5000: 2.0}


def test_what_arrives_while_an_hour_is_sealed_is_in_its_chunks(server: Server, past: int) -> None:
    keep(server, past, cpu=1.0)
    write = seal._write

    def write_and_receive(server_ids: list[int], hour: int) -> None:
        write(server_ids, hour)
        if not arrived:
            arrived.append(True)
            keep(server, past + 5000, cpu=2.0, memory=3.0)

    arrived: list[bool] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "_write", write_and_receive)
        seal_until(past + HOUR_MS)
    assert (kept(server, past), LateFrame.objects.count()) == ({past: 1.0, past + 5000: 2.0}, 0)
    assert kept(server, past, "memory") == {past + 5000: 3.0}


def test_what_arrives_in_every_round_of_a_seal_is_in_its_chunks(server: Server, past: int) -> None:
    keep(server, past, cpu=0.0)
    write = seal._write
    arrived = {past: 0.0}

    def write_and_receive(server_ids: list[int], hour: int) -> None:
        write(server_ids, hour)
        if len(arrived) <= seal.ROUNDS:
            at_ms = past + len(arrived) * 5000
            arrived[at_ms] = float(len(arrived))
            keep(server, at_ms, cpu=arrived[at_ms])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seal, "_write", write_and_receive)
        patch.setattr(seal, "REWRITTEN_UNDER_LOCK", 0)
        seal_until(past + HOUR_MS)
    assert len(arrived) == seal.ROUNDS + 1
    merge_late()  # the last one came when the hour was being closed
    assert kept(server, past) == arrived


def test_a_seal_that_ends_before_its_commit_loses_and_doubles_nothing(server: Server, past: int) -> None:
    for step in range(10):
        keep(server, past + step * 5000, cpu=float(step))
    expected = {past + step * 5000: float(step) for step in range(10)}

    def fail(*_: object) -> None:
        raise RuntimeError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(horizon, "sealed", fail)
        with pytest.raises(RuntimeError):
            seal_until(past + HOUR_MS)
    assert (Chunk.objects.count(), WarmFrame.objects.count(), kept(server, past)) == (1, 10, expected)
    keep(server, past + 50_000, cpu=10.0)
    assert seal_until(past + HOUR_MS) == [past // HOUR_MS]
    assert (Chunk.objects.count(), kept(server, past)) == (1, {**expected, past + 50_000: 10.0})


def test_a_deleted_server_holds_nothing_up(make_server: Callable[..., Server], past: int) -> None:
    gone, stays = make_server("gone"), make_server("stays")
    for server in (gone, stays):
        keep(server, past, cpu=1.0)
    gone.delete()
    assert seal_until(past + HOUR_MS) == [past // HOUR_MS]
    assert (Chunk.objects.count(), kept(stays, past)) == (1, {past: 1.0})


def test_a_compacted_day_reads_as_before_and_has_roll_ups(server: Server, past: int) -> None:
    for minute in range(0, 24 * 60, 7):
        keep(server, past + minute * 60_000, cpu=minute * 0.1)
    before = kept(server, past)
    seal_until(past + DAY_MS)
    assert Chunk.objects.count() == 24
    assert compact_due(timezone.now()) == [past // DAY_MS]
    assert (Chunk.objects.count(), Segment.objects.count(), Rollup.objects.count()) == (1, 1, 3)
    assert kept(server, past) == before
    assert compact_due(timezone.now()) == []


def test_newest_instants_finds_what_is_sealed_compacted_or_late(server: Server, past: int) -> None:
    def newest() -> dict[int, int]:
        return newest_instants([server.pk], from_ms(past - 1), from_ms(past + 3 * DAY_MS))

    keep(server, past, cpu=1.0)
    keep(server, past + DAY_MS - 5000, cpu=2.0)
    seal_until(past + DAY_MS)
    assert newest() == {server.pk: past + DAY_MS - 5000}
    compact_due(timezone.now())
    assert newest() == {server.pk: past + DAY_MS - 5000}
    keep(server, past + DAY_MS - 1, cpu=3.0)
    assert newest() == {server.pk: past + DAY_MS - 1}


def test_the_newest_values_of_a_sealed_server_are_put_back_after_a_flush(server: Server) -> None:
    seen_ms = int(timezone.now().timestamp() * 1000) - 2 * HOUR_MS
    keep(server, seen_ms - 5000, cpu=1.0, memory=2.0, swap=9.0)
    keep(server, seen_ms, cpu=3.0, memory=4.0)
    seal_due(timezone.now())
    assert WarmFrame.objects.count() == 0
    client().flushdb()
    assert hot.newest([server.pk])[server.pk] == {
        CPU: (seen_ms, 3.0),
        SeriesName("memory"): (seen_ms, 4.0),
        SeriesName("swap"): (seen_ms - 5000, 9.0),
    }


# --- Any order --------------------------------------------------------------------------------------------------------

HOURS = (0, 1, 23, 24, 25, 47, 48, 71)
"""Hours of three days: two days that can be compacted, and their borders."""
numbers = st.one_of(st.floats(-1e9, 1e9), st.integers(0, 1000).map(lambda tenths: tenths * 0.1), st.just(-0.0))
frames = st.tuples(
    st.integers(0, 1),
    st.sampled_from(HOURS),
    st.integers(0, 3),
    st.dictionaries(st.sampled_from(["cpu", "memory", "disk"]), numbers, min_size=1),
)
actions = st.one_of(
    st.lists(frames, min_size=1, max_size=6),
    st.lists(frames, min_size=1, max_size=6),
    st.tuples(st.just("seal"), st.sampled_from(HOURS)),
    st.sampled_from(["merge", "compact"]),
)
Step = tuple[int, int, int, dict[str, float]]
History = dict[tuple[int, str], dict[int, float]]


@pytest.mark.parametrize("at_once", [1, 500])
@hypothesis_settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(actions, min_size=1, max_size=14))
def test_whatever_comes_in_whatever_order_the_history_is_that_of_first_arrival(
    make_server: Callable[..., Server], past: int, at_once: int, monkeypatch: pytest.MonkeyPatch, steps: list[object]
) -> None:
    empty_history()
    for module in (seal, compact, late):
        monkeypatch.setattr(module, "SERIES_AT_ONCE", at_once)
    servers = [Server.objects.filter(name=name).first() or make_server(name) for name in ("alpha", "beta")]
    expected: History = {}
    for step in [*steps, ("seal", 80), "merge", "compact"]:
        apply(step, servers, past, expected)
        assert everything(servers, past) == expected
    assert WarmFrame.objects.count() == LateFrame.objects.count() == 0
    rolled_up_equals(expected, past)


def apply(step: object, servers: list[Server], past: int, expected: History) -> None:
    if step == "merge":
        merge_late()
    elif step == "compact":
        compact_due(timezone.now())
    elif isinstance(step, tuple):
        seal_until(past + step[1] * HOUR_MS)
    else:
        assert isinstance(step, list)
        receive(step, servers, past, expected)


def receive(cut: list[Step], servers: list[Server], past: int, expected: History) -> None:
    batch = []
    for server, hour, minute, values in cut:
        at_ms = past + hour * HOUR_MS + minute * 90_000
        if any((at_ms, servers[server].pk) == (frame.at_ms, frame.server_id) for frame in batch):
            continue  # which of two in one batch counts is not said
        batch.append(Frame.of(servers[server].pk, at_ms, values))
        for metric, value in values.items():
            expected.setdefault((servers[server].pk, metric), {}).setdefault(at_ms, value)
    record(batch, origin="test")
    Batch.objects.update(evaluated_at=timezone.now())


def everything(servers: list[Server], past: int) -> History:
    found: History = {}
    for server in servers:
        metrics = ("cpu", "memory", "disk")
        tracks = read(server.pk, [SeriesName(metric) for metric in metrics], past, past + 4 * DAY_MS)
        for metric, row in zip(metrics, tracks.values, strict=True):
            if there := np.flatnonzero(~np.isnan(row)).tolist():
                found[server.pk, metric] = {int(tracks.at_ms[place]): float(row[place]) for place in there}
    return found


def rolled_up_equals(expected: History, past: int) -> None:
    for step_ms in (60_000, 900_000, HOUR_MS):
        series = [(server_id, SeriesName(metric)) for server_id, metric in expected]
        for (key, values), found in zip(
            expected.items(), read_buckets(series, past, past + 4 * DAY_MS, step_ms), strict=True
        ):
            assert int(found.count.sum()) == len(values), key
            for at_ms, low, high, last in zip(found.at_ms, found.least, found.most, found.last, strict=True):
                mine = {at: value for at, value in values.items() if at_ms <= at < at_ms + step_ms}
                assert (low, high, last) == (min(mine.values()), max(mine.values()), mine[max(mine)])


@pytest.mark.parametrize(("first_s", "end_s"), [(0, 5400), (1800, 7200), (1800, 5400), (600, 1200), (5400, 9000)])
def test_buckets_of_a_range_that_cuts_sealed_hours_have_just_what_is_in_it(
    server: Server, past: int, first_s: int, end_s: int
) -> None:
    samples = {past + minute * 60_000: float(minute) for minute in range(180)}
    for at_ms, value in samples.items():
        keep(server, at_ms, cpu=value)
    seal_until(past + 2 * HOUR_MS)
    start_ms, end_ms = past + first_s * 1000, past + end_s * 1000
    (found,) = read_buckets([(server.pk, CPU)], start_ms, end_ms, HOUR_MS)
    inside = [value for at_ms, value in samples.items() if start_ms <= at_ms < end_ms]
    assert (found.count.sum(), found.least.min(), found.most.max()) == (len(inside), min(inside), max(inside))


def test_warm_rows_with_gaps_of_their_own_make_the_same_hours(server: Server, past: int) -> None:
    seal_until(past + HOUR_MS)
    for minute in range(60):
        at_ms = past + HOUR_MS + minute * 60_000
        if minute % 3:
            keep(server, at_ms, cpu=float(minute))
        else:
            keep(server, at_ms, cpu=float(minute), memory=1.0)
    series = [(server.pk, CPU), (server.pk, SeriesName("memory"))]
    cpu, memory = read_buckets(series, past, past + 2 * HOUR_MS, HOUR_MS)
    assert (cpu.count.tolist(), cpu.total.tolist(), cpu.last.tolist()) == ([60], [sum(range(60))], [59.0])
    assert (memory.count.tolist(), memory.last.tolist()) == ([20], [1.0])
