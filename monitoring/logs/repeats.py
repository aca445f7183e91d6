"""Lines that are kept already: somebody sent them again, in another body, or late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from monitoring.history.codec import Ints
from monitoring.logs import read
from monitoring.logs.codec import instants_in
from monitoring.logs.columns import Columns

GAP_NS = 60_000_000_000
"""Lines that are further apart are looked for apart, so that two late ones do not mean all that lies between."""
BLOCKS_AT_ONCE = 64


def without_known(columns: Columns, day: date, taken: Iterable[int]) -> Columns:
    """Columns of a day, in order, without the new lines that other merged blocks have than `taken`.

    A handful of queries; a block is unpacked only if it has lines of the same instants.
    """
    new = np.flatnonzero(columns.is_new)
    if not len(new):
        return columns
    own = np.unique(columns.at_ns[new])
    known: set[tuple[int, int]] = set()
    for ids in _portions(_overlapping(own, day, taken)):
        shared = [block_id for block_id, at_ns in _instants(day, ids).items() if _is_in(own, at_ns).any()]
        for block in read.fetched([(day, block_id) for block_id in shared]).values():
            known.update(_positions(Columns.of([block], [False]), _is_in(own, block.at_ns)))
    if not known:
        return columns
    doubtful = np.isin(columns.at_ns, [at_ns for at_ns, _ in known]) & columns.is_new
    again = [pair in known for pair in _positions(columns, doubtful)]
    return columns.taken(np.delete(np.arange(columns.count), np.flatnonzero(doubtful)[again]))


def _is_in(own: Ints, at_ns: Ints) -> NDArray[np.bool_]:
    """Which instants are among `own`, which are at least one, ascending."""
    is_in: NDArray[np.bool_] = own[np.searchsorted(own, at_ns).clip(max=len(own) - 1)] == at_ns
    return is_in


def _positions(columns: Columns, chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    places = np.flatnonzero(chosen)
    return zip(columns.at_ns[places].tolist(), columns.numbers(places).tolist(), strict=True)


def _overlapping(at_ns: Ints, day: date, taken: Iterable[int]) -> list[int]:
    """Merged blocks, others than `taken`, that may have lines of these ascending instants."""
    edges = np.flatnonzero(np.diff(at_ns) > GAP_NS)
    starts = at_ns[np.append(0, edges + 1)].tolist()
    ends = at_ns[np.append(edges, len(at_ns) - 1)].tolist()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT DISTINCT id FROM unnest(%s::bigint[], %s::bigint[]) AS span (first, last)
            JOIN monitoring_logblock ON first_ns <= span.last AND last_ns >= span.first
            WHERE tier > 0 AND day = %s AND id <> ALL(%s)
            """,
            [starts, ends, day, list(taken)],
        )
        return [row[0] for row in cursor.fetchall()]


def _instants(day: date, ids: Sequence[int]) -> dict[int, Ints]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, head FROM monitoring_logblock WHERE tier > 0 AND day = %s AND id = ANY(%s)", [day, list(ids)]
        )
        return {block_id: instants_in(bytes(head)) for block_id, head in cursor.fetchall()}


def _portions(ids: Sequence[int], size: int = BLOCKS_AT_ONCE) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
