"""Reading rows as `record` left them: warm ones, and late ones that wait for their merge."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from django.db import connection

from monitoring.history import partitions
from monitoring.history.codec import Ints
from monitoring.history.encode import instants_of, ints_of, slots_of
from monitoring.history.frame import Floats
from monitoring.history.partitions import HOUR_MS
from monitoring.history.series import Place
from portal.toolkit.instants import from_ms

FRAMES, LATE = partitions.TABLE, partitions.LATE
_beside = ThreadPoolExecutor(max_workers=2, thread_name_prefix="history")


class Piece(NamedTuple):
    """Samples of one series, ascending, one per instant. Of two for one instant the one with the lower rank counts:
    the batch's id, or 0 for what is in a chunk.
    """

    at_ms: Ints
    ranks: Ints
    values: Floats

    def part(self, rows: slice) -> Piece:
        return Piece(self.at_ms[rows], self.ranks[rows], self.values[rows])


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows of one block of one server with the same slots present, ascending; `values[i]` in slot order."""

    server_id: int
    block: int
    present: int
    at_ms: Ints
    ranks: Ints
    values: Floats

    def has(self, slot: int) -> bool:
        return bool(self.present >> slot & 1)

    def piece(self, slot: int) -> Piece:
        return Piece(self.at_ms, self.ranks, self.values[:, slots_of(self.present).index(slot)])

    def pieces(self) -> Iterable[tuple[Place, Piece]]:
        for column, slot in enumerate(slots_of(self.present)):
            yield Place(self.block, slot), Piece(self.at_ms, self.ranks, self.values[:, column])


# The database packs the rows of a block into four strings, in the order of the key: no sorting, no work per row here.
AS_SHAPES = """
SELECT server_id, block, string_agg(int8send(present), ''::bytea ORDER BY at, present),
    string_agg(timestamptz_send(at), ''::bytea ORDER BY at, present),
    string_agg(int8send(batch_id), ''::bytea ORDER BY at, present), string_agg(vals, ''::bytea ORDER BY at, present)
FROM {table} {where} GROUP BY server_id, block
"""


# Nearly all blocks have one shape and are in one table: then nothing is said twice, and two strings are enough.
_ALIKE = """
SELECT server_id, block, min(present), max(present),
    string_agg(timestamptz_send(at), ''::bytea ORDER BY at, present), string_agg(vals, ''::bytea ORDER BY at, present)
FROM {table} {where} GROUP BY server_id, block
"""
ANY_RANK = 1


def shapes_of(
    tables: Sequence[str], server_ids: Sequence[int], start_ms: int, end_ms: int, blocks: Sequence[int] | None = None
) -> list[Shape]:
    """The rows of the servers with start_ms <= instant < end_ms in FRAMES, LATE or both; of all blocks if not told
    which. One query, and one more when a block has rows of several shapes or in both tables.
    """
    shapes: dict[tuple[int, int], Shape] = {}
    mixed: set[tuple[int, int]] = set()
    rows = _rows(_ALIKE, tables, server_ids, blocks, start_ms, end_ms)
    for server_id, block, present, other, at, vals in rows:
        if present != other or (server_id, block) in shapes:
            mixed.add((server_id, block))
        else:
            instants = instants_of(at)
            values = np.frombuffer(vals, "<f8").reshape(len(instants), -1)
            ranks = np.full(len(instants), ANY_RANK)
            shapes[server_id, block] = Shape(server_id, block, present, instants, ranks, values)
    alike = [shape for key, shape in shapes.items() if key not in mixed]
    if not mixed:
        return alike
    servers, of_blocks = (sorted({pair[side] for pair in mixed}) for side in (0, 1))
    rows = _rows(AS_SHAPES, tables, servers, of_blocks, start_ms, end_ms)
    return alike + [shape for row in rows if (row[0], row[1]) in mixed for shape in unpacked(*row)]


def _rows(
    select: str,
    tables: Sequence[str],
    server_ids: Sequence[int],
    blocks: Sequence[int] | None,
    start_ms: int,
    end_ms: int,
) -> list[tuple[Any, ...]]:
    """All tables as they were at one moment."""
    arguments: list[Any] = [list(server_ids), from_ms(start_ms), from_ms(end_ms)]
    if blocks is not None:
        arguments.append(list(blocks))
    where = "WHERE server_id = ANY(%s) AND at >= %s AND at < %s" + ("" if blocks is None else " AND block = ANY(%s)")
    with connection.cursor() as cursor:
        cursor.execute(
            " UNION ALL ".join(select.format(table=table, where=where) for table in tables), arguments * len(tables)
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


class Hour(NamedTuple):
    """What a block of a server has of one hour, all rows with the same slots present: `values[i]` in slot order, by
    instant. A row's instant is not told; no two have the same.
    """

    server_id: int
    block: int
    hour_ms: int
    present: int
    values: Floats

    def of(self, slot: int) -> Floats:
        """The values of a slot; none when it is not present."""
        slots = slots_of(self.present)
        return self.values[:, slots.index(slot)] if slot in slots else self.values[:0, 0]


_HOUR = """
SELECT server_id, block, %s::bigint, min(present), max(present), string_agg(vals, ''::bytea ORDER BY at, present)
FROM monitoring_frame WHERE server_id = ANY(%s) AND block = ANY(%s) AND at >= %s AND at < %s GROUP BY server_id, block
"""


def hours_of(
    server_ids: Sequence[int],
    blocks: Sequence[int],
    start_ms: int,
    end_ms: int,
    meanwhile: Callable[[], None],
) -> tuple[list[Hour], set[tuple[int, int]]]:
    """Warm rows with start_ms <= instant < end_ms, at least one ms, an hour at a time; and the (server, block)s that
    cannot be told so, as rows of one hour have several shapes. One query; without the instants, which make half of
    the work.

    `meanwhile` is done in another thread while the database works; it must not ask the database.
    """
    edges = [start_ms, *range((start_ms // HOUR_MS + 1) * HOUR_MS, end_ms, HOUR_MS), end_ms]
    arguments: list[Any] = []
    for first, end in pairwise(edges):
        arguments += [first // HOUR_MS * HOUR_MS, list(server_ids), list(blocks), from_ms(first), from_ms(end)]
    beside = _beside.submit(meanwhile)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join([_HOUR] * (len(edges) - 1)), arguments)
        rows = cursor.fetchall()
    beside.result()
    mixed = {(server_id, block) for server_id, block, _, present, other, _ in rows if present != other}
    return [
        Hour(server_id, block, hour_ms, present, np.frombuffer(vals, "<f8").reshape(-1, len(slots_of(present))))
        for server_id, block, hour_ms, present, _, vals in rows
        if (server_id, block) not in mixed
    ], mixed


def late_of(server_ids: Sequence[int], start_ms: int, end_ms: int) -> set[tuple[int, int]]:
    """The (server, block)s of which late rows with start_ms <= instant < end_ms wait for their merge. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT server_id, block FROM monitoring_lateframe "
            "WHERE server_id = ANY(%s) AND at >= %s AND at < %s",
            [list(server_ids), from_ms(start_ms), from_ms(end_ms)],
        )
        return set(cursor.fetchall())


def unpacked(server_id: int, block: int, present: bytes, at: bytes, batch_ids: bytes, vals: bytes) -> Iterator[Shape]:
    """The shapes of a block, each with its rows: most blocks have one, a sender whose gaps move has many."""
    patterns, instants, ranks = ints_of(present), instants_of(at), ints_of(batch_ids)
    values = np.frombuffer(vals, "<f8")
    if (patterns == patterns[0]).all():
        yield Shape(server_id, block, int(patterns[0]), instants, ranks, values.reshape(len(instants), -1))
        return
    widths = {pattern: len(slots_of(pattern)) for pattern in np.unique(patterns).tolist()}
    ends = np.cumsum([widths[pattern] for pattern in patterns.tolist()])
    for pattern, width in widths.items():
        rows = np.flatnonzero(patterns == pattern)
        places = (ends[rows] - width)[:, None] + np.arange(width)
        yield Shape(server_id, block, pattern, instants[rows], ranks[rows], values[places])


def pieces_of(shapes: Iterable[Shape]) -> dict[int, dict[Place, list[Piece]]]:
    """Server id → place → what there is of its series."""
    servers: dict[int, dict[Place, list[Piece]]] = defaultdict(lambda: defaultdict(list))
    for shape in shapes:
        for place, piece in shape.pieces():
            servers[shape.server_id][place].append(piece)
    return servers


def first_wins(pieces: Sequence[Piece]) -> tuple[Ints, Floats]:
    """(instants, values) of a series, ascending, one value per instant."""
    if not pieces:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    pieces = sorted(pieces, key=lambda piece: int(piece.at_ms[0]))
    if all(earlier.at_ms[-1] < later.at_ms[0] for earlier, later in pairwise(pieces)):
        if len(pieces) == 1:
            return pieces[0].at_ms, pieces[0].values
        return np.concatenate([piece.at_ms for piece in pieces]), np.concatenate([piece.values for piece in pieces])
    at = np.concatenate([piece.at_ms for piece in pieces])
    order = np.lexsort((np.concatenate([piece.ranks for piece in pieces]), at))
    at, values = at[order], np.concatenate([piece.values for piece in pieces])[order]
    first = np.append(True, np.diff(at) != 0)
    return at[first], values[first]


def resolved(places: Mapping[Place, Sequence[Piece]]) -> dict[Place, tuple[Ints, Floats]]:
    return {place: first_wins(pieces) for place, pieces in places.items()}
