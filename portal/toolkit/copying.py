"""COPY into PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from psycopg import Copy


@contextmanager
def copying(cursor: Any, statement: str) -> Iterator[Copy]:
    """`cursor.copy(statement)`, which raises Django's errors as any other query does: a database that goes away in the
    middle is one that callers know of, and not psycopg's own error."""
    with connection.wrap_database_errors, cursor.copy(statement) as copy:
        yield copy
