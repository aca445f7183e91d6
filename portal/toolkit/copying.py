"""COPY into PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


def copy_rows(table: str, columns: Sequence[str], types: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Append `rows` to `table`; `types` are PostgreSQL's of the columns. Raises Django's errors."""
    statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, copying(cursor, statement) as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)
