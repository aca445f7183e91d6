"""Which rows of the outbox a drainer may send now, and when a row that failed is due again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F

from alerts.models import Delivery

LEASE_S = 60
CLAIM = 10
DRAINERS = 2
RETRY_S = (5, 15, 45, 120, 300, 900, 1800, 3600)
"""After the first, second, … refusal "not now"."""
UNREACHABLE_RETRY_S = ((timedelta(minutes=10), 5), (timedelta(hours=1), 15), (timedelta.max, 60))
"""By the age of a row: trying costs a connection, not a mail, and a server that is back is to be used at once."""
GIVEN_UP_AFTER = timedelta(hours=24)
_LOCK = 7_052_001


@contextmanager
def drainer() -> Iterator[bool]:
    """Whether there is room for one more drainer in the whole portal; kept until the end of the block.

    Advisory locks of the session: PostgreSQL frees them when a process dies, and no process needs to know the others.
    With at most two, a mail server that hangs holds two of the worker's threads, never all of them.
    """
    taken = None
    with connection.cursor() as cursor:
        for place in range(DRAINERS):
            cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCK, place])
            if cursor.fetchone()[0]:
                taken = place
                break
    try:
        yield taken is not None
    finally:
        if taken is not None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCK, taken])


def claim(now: datetime) -> list[Delivery]:
    """Due rows, leased for LEASE_S: nobody else sends them meanwhile. Two queries.

    New ones first, then the oldest. A person's mails about an incident go in their order: none before an earlier one
    that still waits. A row whose next attempt lies further ahead than any pause is due too: the clock went back; so is
    one whose lease does, but no clock of two machines is like the other: twice the lease is waited for.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, _parameters(now))
        ids = [row[0] for row in cursor.fetchall()]
    rows = Delivery.objects.filter(pk__in=ids).select_related(
        "incident__server__group", "incident__group", "incident__acknowledged_by", "person"
    )
    return sorted(rows, key=lambda row: (row.attempts > 1, row.created_at, row.pk)) if ids else []


def is_due(now: datetime) -> bool:
    """Whether somebody could claim a row. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE + "LIMIT 1", _parameters(now))
        return cursor.fetchone() is not None


def give_back(rows: Sequence[Delivery]) -> None:
    """Rows that were claimed and not tried."""
    for row in rows:
        held = Delivery.objects.filter(pk=row.pk, leased_until=row.leased_until)
        held.update(leased_until=None, attempts=F("attempts") - 1)


def _parameters(now: datetime) -> dict[str, Any]:
    return {
        "now": now,
        "until": now + timedelta(seconds=LEASE_S),
        "impossible": now + timedelta(seconds=2 * LEASE_S),
        "limit": CLAIM,
        "pauses": [1.25 * max(pause, 60) for pause in (0, *RETRY_S)],
        "last": len(RETRY_S) + 1,
    }


_DUE = """
    SELECT id FROM alerts_delivery mine
    WHERE status = 'queued'
        AND (next_attempt_at <= %(now)s
            OR next_attempt_at > %(now)s + (%(pauses)s::float[])[least(attempts + 1, %(last)s)] * interval '1 second')
        AND (leased_until IS NULL OR leased_until <= %(now)s OR leased_until > %(impossible)s)
        AND NOT EXISTS (
            SELECT FROM alerts_delivery earlier
            WHERE earlier.incident_id = mine.incident_id AND earlier.status = 'queued' AND earlier.id < mine.id
                AND split_part(earlier.key, '-', 2) = split_part(mine.key, '-', 2)
        )
"""
_CLAIM = (
    "WITH due AS MATERIALIZED ("  # noqa: S608 (constants)
    + _DUE
    + """
    ORDER BY attempts > 0, created_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE alerts_delivery SET leased_until = %(until)s, attempts = attempts + 1
FROM due WHERE alerts_delivery.id = due.id RETURNING alerts_delivery.id
"""
)


def next_attempt(row: Delivery, at: datetime, *, unreachable: bool) -> datetime | None:
    """When to try `row` again after it failed at `at`; None when it has been tried for long enough.

    Jitter spreads what failed together; the last attempt is exactly at the end of the 24 hours. Hours in which the
    portal was away count, but what it finds when it is back is tried as often as anything else.
    """
    end = row.created_at + GIVEN_UP_AFTER
    if at >= end and row.attempts > len(RETRY_S):
        return None
    if unreachable:
        pause_s = next(pause for age, pause in UNREACHABLE_RETRY_S if at - row.created_at < age)
    else:
        pause_s = RETRY_S[min(row.attempts, len(RETRY_S)) - 1]
    spread = random.uniform(0.8, 1.2)  # noqa: S311 (a moment, not a secret)
    again_at = at + timedelta(seconds=pause_s * spread)
    return min(again_at, end) if at < end else again_at
