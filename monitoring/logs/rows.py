"""Merged blocks as rows of their table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from django.db import connection

from monitoring.logs.codec import QUICK, SMALL, Block, pack_block
from portal.toolkit.copying import copy_rows

_ROW = ("id", "day", "first_ns", "last_ns", "count", "tier", "sieve_id", "levels", "servers", "head", "body")
_ROW_TYPES = ("int8", "date", "int8", "int8", "int4", "int2", "int8", "int2", "int8[]", "bytea", "bytea")


def new_ids(count: int) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('monitoring_logblock_id') FROM generate_series(1, %s)", [count])
        return [row[0] for row in cursor.fetchall()]


def span_of(blocks: Sequence[Block]) -> tuple[int, int]:
    """The first and the last instant of blocks that have lines in order."""
    return int(blocks[0].at_ns[0]), max(int(block.at_ns[-1]) for block in blocks)


def row_of(block_id: int, day: date, tier: int, sieve_id: int | None, block: Block) -> tuple[Any, ...]:
    packed = pack_block(block, SMALL if tier == 2 else QUICK)
    facts = (day, *span_of([block]), block.count, tier, sieve_id, block.level_mask, block.owners)
    return (block_id, *facts, *packed)


def copy_blocks(rows: Iterable[tuple[Any, ...]]) -> None:
    copy_rows("monitoring_logblock", _ROW, _ROW_TYPES, rows)
