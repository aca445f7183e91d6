"""Many rows, one statement."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection, models


def update_rows(rows: Sequence[models.Model], fields: Sequence[str]) -> None:
    """Write these fields of all `rows` of one model, each with its own values; one query.

    What `bulk_update` does with a CASE per row and field, here with one array per field: 1,000 rows of 16 fields take
    20 ms instead of 700.
    """
    if not rows:
        return
    meta, quote = rows[0]._meta, connection.ops.quote_name
    key = meta.pk
    assert key is not None
    columns = [field for field in meta.concrete_fields if field.name in fields]
    assert len(columns) == len(fields)
    names = [quote(str(field.column)) for field in columns]
    arrays = [f"%s::{key.rel_db_type(connection)}[]", *(f"%s::{field.db_type(connection)}[]" for field in columns)]
    values = [[field.get_db_prep_save(getattr(row, field.attname), connection) for row in rows] for field in columns]
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE {quote(meta.db_table)} old SET {', '.join(f'{name} = new.{name}' for name in names)}"  # noqa: S608
            f" FROM unnest({', '.join(arrays)}) AS new(pk, {', '.join(names)})"
            f" WHERE old.{quote(str(key.column))} = new.pk",
            [[row.pk for row in rows], *values],
        )
