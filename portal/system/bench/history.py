"""Reading back: a day of one series as an HTTP answer, and a month of 200 servers by the hour.

200 servers with 30 days at 5 s, 103 million samples, lie there as a portal has them after a month: whole days in
chunks and roll-ups, today's hours sealed, the last hour and a half in warm rows that went through `history.record`.
Beside it a day of one series of the reference set as Prometheus and VictoriaMetrics answer it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.client import HTTPConnection
from statistics import median

import numpy as np
from django.db import connection, transaction
from django.utils import timezone

from monitoring.history import chunks, horizon, partitions, rollup
from monitoring.history.chunks import DAY_MS, HOUR_MS, Track
from monitoring.history.frame import Floats, Frame, SeriesName
from monitoring.history.read import read_buckets
from monitoring.history.record import record
from monitoring.history.series import Place, ids_of, plans_for
from monitoring.models import Batch, Server, ServerGroup
from portal.system.bench import _peers_reference
from portal.system.bench._history import empty_history
from portal.system.bench._reference import METRICS, PER_DAY, SERVERS, STEP_MS, day_of
from portal.system.bench._web import signed_in, web

DAYS = 30
CPU = SeriesName("cpu")
AHEAD_MS = 4 * 60_000
"""`record` takes samples of the next minutes, so that the day is whole for as long as it is measured."""
ROUNDS = 40


def run() -> dict[str, float]:
    now_ms = int(timezone.now().timestamp() * 1000)
    server_ids = _servers()
    days = [day_of(number, metric) for metric in METRICS for number in range(SERVERS)]
    with empty_history():
        _fill(server_ids, days, now_ms)
        with connection.cursor() as cursor:
            for table in (*chunks.TABLES, partitions.TABLE, "monitoring_rollup", "monitoring_series"):
                cursor.execute(f"VACUUM ANALYZE {table}")
        ours = {**_day(server_ids[0], days[0]), **_month(server_ids, now_ms)}
    return ours | _peers_reference.history((now_ms // DAY_MS - 2) * DAY_MS, lambda ask: median(_milliseconds(ask)))


def _servers() -> list[int]:
    group, _ = ServerGroup.objects.get_or_create(name="history")
    names = [f"history-{number}" for number in range(SERVERS * len(METRICS))]
    made = [server.pk for server in Server.objects.bulk_create(Server(name=name, group=group) for name in names)]
    plans_for((server_id, (CPU,)) for server_id in made)
    return made


def _values(day: Floats, at_ms: int, count: int) -> Floats:
    """`count` values from `at_ms` on: every day is the reference day, some hours later than the day before."""
    first = at_ms // STEP_MS
    places = first + np.arange(count)
    return np.asarray(day[(places + places // PER_DAY * 977) % PER_DAY])


def _fill(server_ids: list[int], days: list[Floats], now_ms: int) -> None:
    ids = ids_of(server_ids)
    series = {server_id: ids[server_id, Place(0, 0)] for server_id in server_ids}
    midnight_ms = now_ms // DAY_MS * DAY_MS
    sealed_ms = max((now_ms - horizon.GRACE_MS) // HOUR_MS * HOUR_MS, midnight_ms)

    def tracks(start_ms: int, end_ms: int) -> dict[int, list[Track]]:
        at_ms = np.arange(start_ms, end_ms, STEP_MS)
        return {
            server_id: [Track(series[server_id], at_ms, _values(day, start_ms, len(at_ms)))]
            for server_id, day in zip(server_ids, days, strict=True)
        }

    for start_ms in range(midnight_ms - DAYS * DAY_MS, midnight_ms, DAY_MS):
        chunks.ensure_day(start_ms // DAY_MS)
        day_tracks = tracks(start_ms, start_ms + DAY_MS)
        with transaction.atomic():
            chunks.write(day_tracks, start_ms)
            rollup.roll_up([track for some in day_tracks.values() for track in some], start_ms)
    chunks.ensure_day(midnight_ms // DAY_MS)
    for start_ms in range(midnight_ms, sealed_ms, HOUR_MS):
        chunks.write(tracks(start_ms, start_ms + HOUR_MS), start_ms)
    with transaction.atomic():
        horizon.sealed(sealed_ms)
        horizon.compacted(midnight_ms)
    _record(tracks(sealed_ms, now_ms + AHEAD_MS))


def _record(tracks: dict[int, list[Track]]) -> None:
    for server_id, (track,) in tracks.items():
        samples = zip(track.at_ms.tolist(), track.values, strict=True)
        record([Frame(server_id, at_ms, (CPU,), value[None]) for at_ms, value in samples], origin="bench")
    Batch.objects.update(evaluated_at=timezone.now())


def _day(server_id: int, day: Floats) -> dict[str, float]:
    """One series, 24 hours, every sample of them, as a browser or a script gets it."""
    cookie = signed_in("history")
    with web("portal.asgi:application") as (port, _process):
        client = HTTPConnection("127.0.0.1", port, timeout=30)

        def ask() -> bytes:
            client.request("GET", f"/servers/{server_id}/samples/?range=24h&points=20000", headers={"Cookie": cookie})
            answer = client.getresponse()
            assert answer.status == 200
            return answer.read()

        took = _milliseconds(ask)
        answer = json.loads(ask())
    at_ms = np.array(answer["at"])
    expected = _values(day, int(at_ms[0]), len(at_ms))
    assert PER_DAY <= len(at_ms) <= PER_DAY + 1
    assert np.allclose(answer["series"][0]["values"], expected, rtol=1e-6)
    return {
        "history.day_ms": median(took),
        "history.day_p95_ms": float(np.percentile(took, 95)),
        "history.day_points": float(len(at_ms)),
    }


def _month(server_ids: list[int], now_ms: int) -> dict[str, float]:
    """200 series, 30 days by the hour: count, minimum, maximum, sum and newest value of each."""
    start_ms = now_ms // HOUR_MS * HOUR_MS - DAYS * DAY_MS + HOUR_MS
    series = [(server_id, CPU) for server_id in server_ids]

    def ask() -> int:
        return sum(int(found.count.sum()) for found in read_buckets(series, start_ms, now_ms, HOUR_MS))

    took = _milliseconds(ask)
    assert ask() == len(series) * len(range(start_ms, now_ms, STEP_MS))
    return {"history.month_200_ms": median(took), "history.month_200_p95_ms": float(np.percentile(took, 95))}


def _milliseconds(ask: Callable[[], object]) -> list[float]:
    for _ in range(5):
        ask()
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        ask()
        took.append(1000 * (time.perf_counter() - began))
    return took
