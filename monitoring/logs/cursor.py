"""Where a tail has come to: the snapshot of PostgreSQL in which it looked last, as text."""

from __future__ import annotations

import re
from datetime import date
from typing import Final, NamedTuple

from django.db import connection

_CURSOR: Final = re.compile(r"(\d{1,18}):(\d{1,18}):((?:\d{1,18}(?:,\d{1,18})*)?)")


class Arrived(NamedTuple):
    """Blocks (day, id) that were committed since a cursor, and the cursor from here on. `is_gap`: some of them have
    been merged away since."""

    cursor: str
    blocks: list[tuple[date, int]]
    is_gap: bool


def is_cursor(said: str) -> bool:
    """Whether PostgreSQL takes it for a snapshot."""
    match = _CURSOR.fullmatch(said)
    if match is None:
        return False
    first, end = int(match[1]), int(match[2])
    running = [int(xid) for xid in match[3].split(",") if xid]
    return 0 < first <= end and running == sorted(set(running)) and all(first <= xid < end for xid in running)


def arrived_since(cursor: str) -> Arrived:
    """Of "": nothing, only the cursor. One query, one more with a cursor; both have to see one snapshot."""
    with connection.cursor() as asked:
        asked.execute(
            """
            SELECT pg_current_snapshot()::text,
                EXISTS (SELECT FROM monitoring_logmerge WHERE NOT pg_visible_in_snapshot(merged_xid, %(since)s))
            """,
            {"since": cursor or None},
        )
        now, is_gap = asked.fetchone()
        if not cursor or is_gap:
            return Arrived(now, [], bool(cursor))
        asked.execute(
            "SELECT day, id FROM monitoring_logblock WHERE tier = 0 AND NOT pg_visible_in_snapshot(xid, %s)", [cursor]
        )
        return Arrived(now, list(asked.fetchall()), is_gap=False)
