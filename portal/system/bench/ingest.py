"""Samples per second through `history.record`, committed, and every one read back and compared."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from django.db import connection, connections
from django.utils import timezone

from monitoring.history.frame import Floats, Frame, SeriesName
from monitoring.history.partitions import TABLE
from monitoring.history.read import read
from monitoring.history.record import record
from monitoring.models import Server, ServerGroup

SECONDS = 60.0
SERVERS = 1_000
INSTANTS_PER_CALL = 10
STEP_MS = 5_000
WRITERS = 2
LAYOUT = tuple(SeriesName(f"bench_{number:02d}") for number in range(20))


def run() -> dict[str, float]:
    server_ids = _servers()
    start_ms = int(timezone.now().timestamp() * 1000) // STEP_MS * STEP_MS - 12 * 3_600_000
    record(_frames(server_ids, start_ms - STEP_MS, 1), origin="bench")  # the series exist before the clock runs
    began = time.perf_counter()
    instants = _write(server_ids, start_ms, began + SECONDS)
    took_s = time.perf_counter() - began
    samples = instants * SERVERS * len(LAYOUT)
    missing = _missing(server_ids, start_ms, instants)
    return {
        "ingest.samples_per_s": samples / took_s,
        "ingest.seconds": took_s,
        "ingest.samples": float(samples),
        "ingest.missing_or_changed_samples": float(missing),
        "ingest.warm_bytes_per_sample": _bytes_on_disk() / samples,
    }


def _servers() -> list[int]:
    group, _ = ServerGroup.objects.get_or_create(name="bench")
    made = Server.objects.bulk_create(Server(name=f"bench-{number}", group=group) for number in range(SERVERS))
    return [server.pk for server in made]


def _values(server_id: int, at_ms: int) -> Floats:
    """What server `server_id` measured at `at_ms`: made again from the two numbers when it is compared."""
    values: Floats = np.sin(np.arange(len(LAYOUT)) + server_id * 0.37 + at_ms * 1e-5) * 50.0 + 50.0
    return values


def _frames(server_ids: list[int], first_ms: int, instants: int) -> list[Frame]:
    at_all = range(first_ms, first_ms + instants * STEP_MS, STEP_MS)
    return [Frame(server_id, at_ms, LAYOUT, _values(server_id, at_ms)) for at_ms in at_all for server_id in server_ids]


def _write(server_ids: list[int], start_ms: int, deadline: float) -> int:
    """Record until the deadline; returns how many instants of all servers were committed.

    Making the frames is a sender's work and not ours: it is done before the clock of a round starts, but it runs in
    this process too, so the rate is a lower bound.
    """

    def starts() -> Iterator[int]:
        call = 0
        while time.perf_counter() < deadline:
            yield start_ms + call * INSTANTS_PER_CALL * STEP_MS
            call += 1

    calls = starts()
    done = 0
    with ThreadPoolExecutor(WRITERS) as pool:
        while batch := [first for _, first in zip(range(WRITERS), calls, strict=False)]:
            kept = list(pool.map(lambda first: _record(server_ids, first), batch))
            done += sum(kept) // (SERVERS * len(LAYOUT))
    return done


def _record(server_ids: list[int], first_ms: int) -> int:
    try:
        return record(_frames(server_ids, first_ms, INSTANTS_PER_CALL), origin="bench").kept
    finally:
        connections.close_all()


def _missing(server_ids: list[int], start_ms: int, instants: int) -> int:
    at_ms = start_ms + np.arange(instants, dtype=np.int64) * STEP_MS
    missing = 0
    for server_id in server_ids:
        tracks = read(server_id, LAYOUT, start_ms, start_ms + instants * STEP_MS)
        expected = np.stack([_values(server_id, int(at)) for at in at_ms], axis=1)
        if tracks.values.shape != expected.shape or not np.array_equal(tracks.at_ms, at_ms):
            missing += expected.size
        else:
            missing += int((tracks.values != expected).sum())
    return missing


def _bytes_on_disk() -> float:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = %s::regclass", [TABLE]
        )
        row = cursor.fetchone()
    return float(row[0])
