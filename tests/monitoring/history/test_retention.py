"""What leaves, and when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from django.conf import settings
from django.utils import timezone

from monitoring.history import chunks, horizon, partitions
from monitoring.history.compact import compact_due
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.read import read, read_buckets
from monitoring.history.record import record
from monitoring.history.retention import apply_retention
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Chunk, LateFrame, Rollup, Server
from portal.toolkit.instants import from_ms
from tests.monitoring.history.conftest import DAY_MS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

HOUR_MS = partitions.HOUR_MS
CPU = SeriesName("cpu")


def compacted_day(server: Server, past: int) -> None:
    """One day with a sample each hour."""
    frames = [Frame.of(server.pk, past + hour * HOUR_MS, {"cpu": float(hour)}) for hour in range(24)]
    record(frames, origin="test")
    Batch.objects.update(evaluated_at=timezone.now())
    seal_due(from_ms(past + DAY_MS + horizon.GRACE_MS))
    compact_due(timezone.now())


def steps() -> list[int]:
    return sorted(set(Rollup.objects.values_list("step_s", flat=True)))


def test_samples_leave_and_their_roll_ups_stay(server: Server, past: int) -> None:
    compacted_day(server, past)
    day_after = from_ms(past + DAY_MS) + timedelta(days=settings.RETENTION_DAYS)
    apply_retention(day_after - timedelta(seconds=1))
    assert Chunk.objects.count() == 1
    apply_retention(day_after)
    assert (Chunk.objects.count(), chunks.days(), steps()) == (0, [], [60, 900, 3600])
    (found,) = read_buckets([(server.pk, CPU)], past, past + DAY_MS, HOUR_MS)
    assert found.total.tolist() == [float(hour) for hour in range(24)]


def test_each_tier_of_roll_ups_leaves_in_its_own_time(server: Server, past: int) -> None:
    compacted_day(server, past)
    for days, left in ((90 + 2, [900, 3600]), (400 + 10, [3600]), (1826 + 34, [])):
        apply_retention(from_ms(past) + timedelta(days=days))
        assert steps() == left


def test_a_day_that_is_not_rolled_up_waits(server: Server, past: int) -> None:
    record([Frame.of(server.pk, past, {"cpu": 1.0})], origin="test")
    Batch.objects.update(evaluated_at=timezone.now())
    seal_due(timezone.now())
    apply_retention(from_ms(past) + timedelta(days=settings.RETENTION_DAYS + 5))
    assert Chunk.objects.count() == 1
    compact_due(timezone.now())
    apply_retention(from_ms(past) + timedelta(days=settings.RETENTION_DAYS + 5))
    assert Chunk.objects.count() == 0


def test_roll_ups_of_a_deleted_server_leave_with_the_next_day(make_server: Callable[..., Server], past: int) -> None:
    gone, stays = make_server("gone"), make_server("stays")
    compacted_day(gone, past)
    gone.delete()
    compacted_day(stays, past + DAY_MS)
    assert set(Rollup.objects.values_list("series_id", flat=True)) == set(stays.series.values_list("pk", flat=True))


def test_late_frames_leave_when_they_are_too_old(server: Server, past: int) -> None:
    seal_due(timezone.now())
    record([Frame.of(server.pk, past, {"cpu": 1.0})], origin="test")
    assert LateFrame.objects.count() == 1
    apply_retention(from_ms(past) + timedelta(days=settings.RETENTION_DAYS, seconds=1))
    assert LateFrame.objects.count() == 0


def test_a_picture_of_days_keeps_its_peaks_and_a_gap_stays_a_gap(server: Server, past: int) -> None:
    start = past - 4 * DAY_MS
    for day in (0, 1, 4):
        frames = [
            Frame.of(server.pk, start + day * DAY_MS + minute * 60_000, {"cpu": 99.0 if minute == 777 else 10.0})
            for minute in range(0, 24 * 60, 7)
        ]
        record(frames, origin="test")
    Batch.objects.update(evaluated_at=timezone.now())
    seal_due(timezone.now())
    compact_due(timezone.now())
    tracks = read(server.pk, [CPU], start, past + DAY_MS, points=150)
    values, day = tracks.values[0], (tracks.at_ms - start) // DAY_MS
    assert tracks.step_ms == HOUR_MS
    assert [float(values[day == number].max()) for number in (0, 1, 4)] == [99.0] * 3
    assert np.isnan(values).tolist() == [number in (2, 3) for number in day.tolist()]
