"""What leaves, and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monitoring.history import chunks, horizon, kept, partitions, retention
from monitoring.history.compact import compact_due
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.read import read, read_buckets
from monitoring.history.record import record
from monitoring.history.retention import apply_retention
from monitoring.history.rollup import roll_up
from monitoring.history.seal import seal_due
from monitoring.history.series import ids_of, plans_for
from monitoring.models import Batch, Chunk, LateFrame, Retention, Rollup, Segment, Server, ServerGroup
from portal.toolkit.instants import from_ms
from tests.monitoring.history.conftest import DAY_MS, empty_history

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


def test_late_frames_leave_with_the_samples_of_their_day(server: Server, past: int) -> None:
    compacted_day(server, past)
    record([Frame.of(server.pk, past + 1, {"cpu": 1.0})], origin="test")
    assert LateFrame.objects.count() == 1
    apply_retention(from_ms(past) + timedelta(days=settings.RETENTION_DAYS + 1, seconds=-1))
    assert LateFrame.objects.count() == 1
    apply_retention(from_ms(past) + timedelta(days=settings.RETENTION_DAYS + 1))
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


# --- Groups that keep less, or more -----------------------------------------------------------------------------------


def keeps(group: ServerGroup | None, samples: int, minutes: int = 90, quarters: int = 400, hours: int = 1826) -> None:
    Retention.objects.update_or_create(
        group=group,
        defaults={
            "samples_days": samples,
            "minutes_days": minutes,
            "quarters_days": quarters,
            "hours_days": hours,
        },
    )


@pytest.fixture
def elsewhere(db: None) -> ServerGroup:
    return ServerGroup.objects.create(name="Elsewhere")


def days_of(server: Server, past: int, days: int = 3) -> list[int]:
    """Of which of these days, counted from `past`, there are samples of the server."""
    tracks = read(server.pk, [CPU], past, past + days * DAY_MS)
    return sorted(set(((tracks.at_ms - past) // DAY_MS).tolist()))


def compacted(servers: Sequence[Server], start_ms: int, end_ms: int) -> None:
    """A sample of each server every eight hours, as if the days had been sealed and compacted."""
    plans_for((server.pk, (CPU,)) for server in servers)
    ids = ids_of([server.pk for server in servers])
    for day_ms in range(start_ms, end_ms, DAY_MS):
        at_ms = np.arange(day_ms, day_ms + DAY_MS, 8 * HOUR_MS)
        tracks = {pk: [chunks.Track(series_id, at_ms, np.ones(3))] for (pk, _), series_id in ids.items()}
        chunks.ensure_day(day_ms // DAY_MS)
        chunks.write(tracks, day_ms)
        roll_up([track for some in tracks.values() for track in some], day_ms)
    horizon.sealed(end_ms)
    horizon.compacted(end_ms)


@pytest.fixture
def two(make_server: Callable[..., Server], elsewhere: ServerGroup, past: int) -> tuple[Server, Server]:
    """A server of each group, with samples of the two days before `past`."""
    servers = make_server("here"), make_server("there", group=elsewhere)
    compacted(servers, past - 2 * DAY_MS, past)
    return servers


def test_a_group_that_keeps_less_loses_its_rows_and_no_other(two: tuple[Server, Server], past: int) -> None:
    here, there = two
    keeps(here.group, samples=4)
    apply_retention(from_ms(past + 3 * DAY_MS))
    assert (days_of(here, past - 2 * DAY_MS), days_of(there, past - 2 * DAY_MS)) == ([1], [0, 1])
    assert Segment.objects.filter(server_id=here.pk).count() == 1


def test_roll_ups_of_a_group_leave_in_its_own_time(two: tuple[Server, Server], past: int) -> None:
    here, there = two
    keeps(here.group, samples=1, minutes=2, quarters=2, hours=500)
    apply_retention(from_ms(past + 20 * DAY_MS))
    left = {
        server.pk: set(Rollup.objects.filter(series_id__in=server.series.values("pk")).values_list("step_s", flat=True))
        for server in two
    }
    assert left == {here.pk: {3600}, there.pk: {60, 900, 3600}}


def test_a_server_that_moves_to_another_group_follows_it(two: tuple[Server, Server], past: int) -> None:
    here, there = two
    keeps(there.group, samples=4)
    now = from_ms(past + 3 * DAY_MS)
    apply_retention(now)
    assert days_of(here, past - 2 * DAY_MS) == [0, 1]
    Server.objects.filter(pk=here.pk).update(group=there.group)
    apply_retention(now)
    assert days_of(here, past - 2 * DAY_MS) == [1]


def test_what_a_portal_keeps_in_general_holds_for_groups_without_a_row(two: tuple[Server, Server], past: int) -> None:
    here, there = two
    keeps(None, samples=4)
    keeps(there.group, samples=30)
    apply_retention(from_ms(past + 3 * DAY_MS))
    assert (days_of(here, past - 2 * DAY_MS), days_of(there, past - 2 * DAY_MS)) == ([1], [0, 1])


def test_a_run_that_had_enough_goes_on_in_the_next(two: tuple[Server, Server], past: int) -> None:
    here, _ = two
    keeps(here.group, samples=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "ROWS_A_RUN", 0)
        apply_retention(from_ms(past + 5 * DAY_MS))
        assert days_of(here, past - 2 * DAY_MS) == [1]
    apply_retention(from_ms(past + 5 * DAY_MS))
    assert days_of(here, past - 2 * DAY_MS) == []


def test_nothing_is_deleted_from_inside_while_somebody_seals(two: tuple[Server, Server], past: int) -> None:
    here, _ = two
    keeps(here.group, samples=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(horizon, "alone", lambda: nullcontext(False))
        apply_retention(from_ms(past + 5 * DAY_MS))
    assert days_of(here, past - 2 * DAY_MS) == [0, 1]


def test_samples_older_than_what_the_group_keeps_are_refused(make_server: Callable[..., Server], past: int) -> None:
    here, there = make_server("here"), make_server("there", group=ServerGroup.objects.create(name="Elsewhere"))
    keeps(here.group, samples=1)
    keeps(there.group, samples=300)
    now_ms = int(timezone.now().timestamp() * 1000)
    frames = [Frame.of(pk, now_ms - days * DAY_MS - 1, {"cpu": 1.0}) for pk in (here.pk, there.pk) for days in (1, 299)]
    recorded = record(frames, origin="test")
    assert [(refusal.server_id, refusal.reason) for refusal in recorded.refused] == [
        (here.pk, "older than the retention of 1 days")
    ] * 2
    assert recorded.kept == 2


def test_recording_what_is_new_asks_nobody_how_long_it_is_kept(server: Server) -> None:
    def one(ago_ms: int) -> list[Frame]:
        return [Frame.of(server.pk, int(timezone.now().timestamp() * 1000) - ago_ms, {"cpu": 1.0})]

    record(one(0), origin="test")
    with CaptureQueriesContext(connection) as queries:
        record(one(1), origin="test")
    assert not [query for query in queries if "retention" in query["sql"]]


def test_a_picture_of_days_whose_samples_have_left_is_made_of_roll_ups(server: Server, past: int) -> None:
    compacted_day(server, past)
    keeps(server.group, samples=1)
    apply_retention(from_ms(past + 2 * DAY_MS))
    assert read(server.pk, [CPU], past, past + DAY_MS).at_ms.tolist() == []
    tracks = read(server.pk, [CPU], past, past + DAY_MS, points=100)
    assert np.nanmax(tracks.values) == 23.0


def test_a_picture_is_made_of_the_finest_roll_ups_that_have_not_left(server: Server, past: int) -> None:
    compacted_day(server, past)
    keeps(server.group, samples=1, minutes=1, quarters=1, hours=500)
    apply_retention(from_ms(past + 20 * DAY_MS))
    keeps(server.group, samples=300, minutes=300, quarters=300, hours=500)  # brings nothing back
    tracks = read(server.pk, [CPU], past, past + DAY_MS, points=20_000)
    assert (tracks.step_ms, np.nanmax(tracks.values)) == (HOUR_MS, 23.0)


rules = st.tuples(st.integers(1, 8), st.integers(0, 6), st.integers(0, 6), st.integers(0, 40))
"""Days of samples, and how many more each tier keeps."""
events = st.one_of(
    st.tuples(st.just("rule"), st.sampled_from(["here", "there", None]), rules),
    st.tuples(st.just("move"), st.integers(0, 1), st.sampled_from(["here", "there"])),
    st.tuples(st.just("pass"), st.integers(0, 30)),
)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events, min_size=1, max_size=6), st.sampled_from([0, 40, 10_000]))
def test_after_any_run_exactly_what_is_to_be_kept_is_readable(
    make_server: Callable[..., Server], past: int, steps: list[Any], rows_a_run: int
) -> None:
    empty_history()
    Retention.objects.all().delete()
    Server.objects.all().delete()
    groups = {name: ServerGroup.objects.get_or_create(name=name)[0] for name in ("here", "there")}
    servers = [make_server(name, group=groups[name]) for name in ("here", "there")]
    start = past - 6 * DAY_MS
    compacted(servers, start, past)
    now_ms, gone = past, {server.pk: start for server in servers}
    said: dict[str | None, tuple[int, ...]] = {}
    for kind, *what in steps:
        if kind == "rule":
            days, *more = what[1]
            said[what[0]] = tuple(accumulate([days, *more]))
            keeps(groups.get(what[0]), *said[what[0]])
        elif kind == "move":
            Server.objects.filter(pk=servers[what[0]].pk).update(group=groups[what[1]])
        else:
            now_ms += what[0] * 6 * HOUR_MS
        run_until_done(from_ms(now_ms), rows_a_run)
        for server in servers:
            server.refresh_from_db()
            days = said.get(server.group.name, said.get(None, (settings.RETENTION_DAYS,)))[0]
            gone[server.pk] = max(gone[server.pk], (now_ms - days * DAY_MS) // DAY_MS * DAY_MS)
            found = read(server.pk, [CPU], start, past).at_ms.tolist()
            assert found == list(range(gone[server.pk], past, 8 * HOUR_MS))


def run_until_done(now: datetime, rows_a_run: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "ROWS_A_RUN", rows_a_run)
        apply_retention(now)
        while list(retention._due(now, kept.rules(), horizon.reach().compacted_ms)):
            apply_retention(now)
