"""Work that one process does at a time, told apart by the numbers of PostgreSQL's advisory locks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def alone(number: int) -> Iterator[bool]:
    """True for whoever has the lock, False at once for everybody else. It goes with the connection, so a killed worker
    cannot keep it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [number])
        row = cursor.fetchone()
        if not row or not row[0]:
            yield False
            return
        try:
            yield True
        finally:
            if connection.connection is not None and not connection.connection.closed:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [number])
