"""Bytes a sample: the reference set through `history.record`, when its hours are sealed and when its day is compacted.

All in: tables, indexes and TOAST, as PostgreSQL counts them after a vacuum. All of it is read back both times and
compared with what went in. Beside it the same set in Prometheus and VictoriaMetrics.
"""

from __future__ import annotations

import time

import numpy as np
from django.db import connection
from django.utils import timezone

from monitoring.history import horizon
from monitoring.history.chunks import DAY_MS, TABLES
from monitoring.history.compact import compact_due
from monitoring.history.frame import Floats, Frame, SeriesName
from monitoring.history.read import read
from monitoring.history.record import record
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Server, ServerGroup
from portal.system.bench import _peers_reference
from portal.system.bench._history import empty_history
from portal.system.bench._reference import METRICS, PER_DAY, SERVERS, STEP_MS, day_of
from portal.toolkit.instants import from_ms

LAYOUT = tuple(SeriesName(metric) for metric in METRICS)
SAMPLES = SERVERS * len(METRICS) * PER_DAY
INSTANTS_PER_CALL = 240


def run() -> dict[str, float]:
    with empty_history():
        ours = _measured()
    return ours | _peers_reference.storage(_start_ms())


def _start_ms() -> int:
    """Midnight (UTC) two days ago."""
    return (int(timezone.now().timestamp() * 1000) // DAY_MS - 2) * DAY_MS


def _measured() -> dict[str, float]:
    start_ms = _start_ms()
    server_ids = _servers()
    day = np.stack([[day_of(number, metric) for metric in METRICS] for number in range(SERVERS)])
    _record(server_ids, day, start_ms)
    began = time.perf_counter()
    hours = seal_due(from_ms(start_ms + DAY_MS + horizon.GRACE_MS))
    sealed_s = time.perf_counter() - began
    assert len(hours) == 24
    sealed_bytes = _bytes(TABLES)
    changed = _changed(server_ids, day, start_ms)
    began = time.perf_counter()
    assert len(compact_due(timezone.now())) == 1
    compacted_s = time.perf_counter() - began
    return {
        "storage.bytes_per_sample": _bytes(TABLES) / SAMPLES,
        "storage.sealed_bytes_per_sample": sealed_bytes / SAMPLES,
        "storage.rollup_bytes_per_sample": _bytes(("monitoring_rollup",)) / SAMPLES,
        "storage.missing_or_changed_samples": float(changed + _changed(server_ids, day, start_ms)),
        "storage.sealed_samples_per_s": SAMPLES / sealed_s,
        "storage.compacted_samples_per_s": SAMPLES / compacted_s,
    }


def _servers() -> list[int]:
    group, _ = ServerGroup.objects.get_or_create(name="storage")
    made = Server.objects.bulk_create(Server(name=f"storage-{number}", group=group) for number in range(SERVERS))
    return [server.pk for server in made]


def _record(server_ids: list[int], day: Floats, start_ms: int) -> None:
    for first in range(0, PER_DAY, INSTANTS_PER_CALL):
        frames = [
            Frame(server_id, start_ms + place * STEP_MS, LAYOUT, day[number, :, place])
            for place in range(first, first + INSTANTS_PER_CALL)
            for number, server_id in enumerate(server_ids)
        ]
        assert record(frames, origin="bench").kept == len(frames) * len(LAYOUT)
    Batch.objects.update(evaluated_at=timezone.now())


def _changed(server_ids: list[int], day: Floats, start_ms: int) -> int:
    """How many samples are not there to the last bit."""
    at_ms = start_ms + np.arange(PER_DAY, dtype=np.int64) * STEP_MS
    changed = 0
    for number, server_id in enumerate(server_ids):
        tracks = read(server_id, LAYOUT, start_ms, start_ms + DAY_MS)
        if not np.array_equal(tracks.at_ms, at_ms):
            changed += day[number].size
        else:
            changed += int((tracks.values.view(np.int64) != day[number].view(np.int64)).sum())
    return changed


def _bytes(tables: tuple[str, ...]) -> float:
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"VACUUM ANALYZE {table}")
        cursor.execute(
            """
            SELECT sum(pg_total_relation_size(whole) + coalesce(
                (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = whole), 0))
            FROM unnest(%s::regclass[]) whole
            """,
            [list(tables)],
        )
        row = cursor.fetchone()
    return float(row[0])
