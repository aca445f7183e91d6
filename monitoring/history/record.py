"""The one door into history."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import structlog
from django.db import connection, transaction
from django.db.utils import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from monitoring import hot
from monitoring.history import kept, partitions
from monitoring.history.encode import Matrix, Rows, copy_body, matrices, rows_of
from monitoring.history.frame import FUTURE_MS, Frame, Recorded, Refusal
from monitoring.history.horizon import GRACE_MS, reach
from monitoring.history.series import Pair, Plan, plans_for
from monitoring.models import Batch
from monitoring.signals import samples_recorded
from portal.toolkit.copying import copying
from portal.toolkit.instants import from_ms

log = structlog.get_logger(__name__)

# Answers of the API say reasons in English, pages in the language of whoever looks.
NO_SERVER = _("there is no such server")
INFINITY = _("infinity is not a measurement")

# Created per connection: COPY itself knows no ON CONFLICT, and a private table needs no clean-up.
_INCOMING = """
CREATE TEMP TABLE IF NOT EXISTS incoming
(server_id bigint, block integer, at timestamptz, present bigint, batch_id bigint, vals bytea) ON COMMIT DELETE ROWS
"""
# The order of the key keeps two writers of the same rows from waiting for each other in a circle.
_KEEP = """
INSERT INTO monitoring_frame (server_id, block, at, present, batch_id, vals)
SELECT server_id, block, at, present, batch_id, vals FROM incoming WHERE batch_id = %s AND at >= %s
ORDER BY server_id, block, at, present
ON CONFLICT DO NOTHING
"""
_KEEP_LATE = """
INSERT INTO monitoring_lateframe (server_id, block, at, present, batch_id, vals)
SELECT server_id, block, at, present, batch_id, vals FROM incoming WHERE batch_id = %s AND at < %s
ORDER BY server_id, block, at, present
ON CONFLICT DO NOTHING
"""


def record(frames: Sequence[Frame], *, origin: str) -> Recorded:
    """Keep `frames`, then tell everyone. `origin` names the way in, for people: "host", "prometheus", "simulation".

    Committed when it returns: a caller may answer 2xx. Safe to repeat: a (series, instant) that is already kept
    keeps its first value. Samples outside [now - retention, now + 5 min], infinities and frames of unknown servers are
    refused one by one, with the reason, in `Recorded.refused`; the rest is kept; NaN is a gap and only counted.
    One transaction and one Redis round trip, however many frames; a new series or a new hour costs a few queries more.
    Raises django.db.OperationalError when PostgreSQL does not commit; then nothing was kept. Redis being away is no
    error. Must not be called inside a transaction: its commit is the promise.
    """
    now = timezone.now()
    result = Recorded()
    timely = _in_time(frames, now, result)
    plans = plans_for((frame.server_id, frame.layout) for frame in timely)
    admitted = [_without_infinities(frame, result) for frame in _of_known_servers(timely, plans, result)]
    groups = list(matrices(admitted, plans))
    rows = [row for group in groups for row in rows_of(group)]
    infinities = sum(refusal.metric is not None for refusal in result.refused)
    result.gaps = sum(int(np.isnan(group.values).sum()) for group in groups) - infinities
    if not rows:
        return result
    result.kept = sum(row.values.size for row in rows)
    result.batch_id = _commit(rows, origin, result.kept)
    _tell(groups, rows, result.batch_id, now)
    return result


def _in_time(frames: Sequence[Frame], now: datetime, result: Recorded) -> list[Frame]:
    """The frames whose instant may be kept; the others go to `result.refused`."""
    now_ms = int(now.timestamp() * 1000)
    surely_ms, newest_ms = kept.surely_kept_ms(now_ms), now_ms + FUTURE_MS
    old = {frame.server_id for frame in frames if frame.at_ms < surely_ms}
    days = kept.sample_days(old) if old else {}
    timely = []
    for frame in frames:
        if frame.at_ms > newest_ms:
            result.refused.append(Refusal(frame.server_id, frame.at_ms, None, "more than 5 minutes in the future"))
        elif frame.at_ms < surely_ms and frame.at_ms < now_ms - days.get(frame.server_id, 1) * kept.DAY_MS:
            result.refused.append(Refusal(frame.server_id, frame.at_ms, None, _too_old(days.get(frame.server_id))))
        else:
            timely.append(frame)
    return timely


def _too_old(days: int | None) -> str:
    return NO_SERVER if days is None else f"older than the retention of {days} days"


def _of_known_servers(frames: Iterable[Frame], plans: Mapping[Pair, Plan], result: Recorded) -> Iterator[Frame]:
    for frame in frames:
        if (frame.server_id, frame.layout) in plans:
            yield frame
        else:
            result.refused.append(Refusal(frame.server_id, frame.at_ms, None, NO_SERVER))


def _without_infinities(frame: Frame, result: Recorded) -> Frame:
    infinite = np.isinf(frame.values)
    if not infinite.any():
        return frame
    for column in np.flatnonzero(infinite):
        name = frame.layout[column].metric
        result.refused.append(Refusal(frame.server_id, frame.at_ms, name, INFINITY))
    return Frame(frame.server_id, frame.at_ms, frame.layout, np.where(infinite, np.nan, frame.values))


def _commit(rows: Sequence[Rows], origin: str, samples: int) -> int:
    """The promise: frames and their Batch row in one transaction. Returns the batch's id."""
    try:
        return _commit_once(rows, origin, samples)
    except IntegrityError:
        # A partition that this process knew was dropped meanwhile (retention, another cluster restored).
        partitions.forget()
        return _commit_once(rows, origin, samples)


def _commit_once(rows: Sequence[Rows], origin: str, samples: int) -> int:
    instants = np.concatenate([row.at_ms for row in rows])
    with transaction.atomic(durable=True):
        sealed_ms = _sealed_ms(int(instants.min()))
        hours = np.unique(instants // partitions.HOUR_MS).tolist()
        partitions.ensure(hour for hour in hours if hour * partitions.HOUR_MS >= sealed_ms)
        batch = Batch.objects.create(
            origin=origin,
            server_ids=np.unique(np.concatenate([row.server_ids for row in rows])).tolist(),
            first_at=datetime.fromtimestamp(int(instants.min()) / 1000, UTC),
            last_at=datetime.fromtimestamp(int(instants.max()) / 1000, UTC),
            samples=samples,
        )
        with connection.cursor() as cursor:
            cursor.execute(_INCOMING)
            with copying(cursor, "COPY incoming FROM STDIN (FORMAT BINARY)") as copy:
                for piece in copy_body(rows, batch.pk):
                    copy.write(piece)
            cursor.execute(_KEEP, [batch.pk, from_ms(sealed_ms)])
            if sealed_ms:
                cursor.execute(_KEEP_LATE, [batch.pk, from_ms(sealed_ms)])
    return batch.pk


def _sealed_ms(oldest_ms: int) -> int:
    """The horizon (epoch ms), 0 when none of these samples can lie behind it; one query, none for recent samples.

    An hour that is sealed between this look and the commit keeps its partition until `retire`, which saves what is in.
    """
    if oldest_ms >= (int(time.time() * 1000) - GRACE_MS) // partitions.HOUR_MS * partitions.HOUR_MS:
        return 0
    sealed_ms = reach().sealed_ms
    return sealed_ms if oldest_ms < sealed_ms else 0


def _tell(groups: Sequence[Matrix], rows: Sequence[Rows], batch_id: int, now: datetime) -> None:
    """After the commit: the hot layer and the live pages, then the wake-up. None of it can undo the promise."""
    hot.write(groups, rows, now)
    for receiver, answer in samples_recorded.send_robust(sender=record, batch_id=batch_id):
        if isinstance(answer, Exception):
            log.error("samples_recorded_receiver_failed", receiver=str(receiver), error=str(answer))
