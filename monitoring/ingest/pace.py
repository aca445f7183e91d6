"""How often a server that pushes does so: told by its sender, else learned from the instants of its samples."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import numpy as np
from django.db import connection
from numpy.typing import NDArray

from monitoring.history.codec import Ints
from monitoring.ingest.desk import Block

LEAST_S, MOST_S = 1, 3600
DISTANCES = 12
ENOUGH = 4
NOTICEABLE = 0.25
WATCHED_FOR_S = 900.0
SERVERS_KEPT = 50_000


class Seen(NamedTuple):
    """The samples of a body: sample i, at `at_ms[i]`, is of series `which[i]`; series s is in `column[s]` of
    `blocks[group[s]]`, or nowhere when that is -1."""

    blocks: Sequence[Block]
    group: NDArray[np.intp]
    column: NDArray[np.intp]
    which: NDArray[np.intp]
    at_ms: Ints


@dataclass(slots=True)
class _Pace:
    """One series of the server is watched: `column` of `block`, chosen at `since`; its newest instant is `at_ms`.

    `written_s` is what this process last wrote for the server.
    """

    block: int
    column: int
    since: float
    at_ms: int = 0
    distances_ms: deque[int] = field(default_factory=lambda: deque(maxlen=DISTANCES))
    written_s: int | None = None


_paces: dict[int, _Pace] = {}
_learning = threading.Lock()


def learn(seen: Seen, told_s: Mapping[int, int]) -> None:
    """Remember when the servers sent; write down how often, where it is told or known and differs noticeably.

    Costs a query when something is written.
    """
    if not seen.blocks:
        return
    with _learning:
        if len(_paces) > SERVERS_KEPT:
            _paces.clear()
        _watch(seen)
        changed = {
            server_id: pace_s
            for server_id in {block[0] for block in seen.blocks}
            if (pace_s := _new(server_id, told_s))
        }
    if changed:
        _write(changed)
        with _learning:  # only now: what PostgreSQL did not take is tried again
            for server_id in changed.keys() & _paces.keys():
                _paces[server_id].written_s = changed[server_id]


def forget() -> None:
    with _learning:
        _paces.clear()


def _new(server_id: int, told_s: Mapping[int, int]) -> int | None:
    """What is to be written for the server, if anything."""
    pace = _paces[server_id]
    told = told_s.get(server_id)
    if told is None and len(pace.distances_ms) < ENOUGH:
        return None
    every_s = told if told is not None else round(median(pace.distances_ms) / 1000)
    every_s = min(MOST_S, max(LEAST_S, every_s))
    if pace.written_s is None or told is not None:
        return every_s if every_s != pace.written_s else None
    return every_s if abs(every_s - pace.written_s) > NOTICEABLE * pace.written_s else None


def _watch(seen: Seen) -> None:
    """Add the distances between the instants of each server's watched series."""
    now = time.monotonic()
    watched = np.full(len(seen.blocks) + 1, -1, np.intp)  # the last is for series that are nowhere
    for number, (server_id, block, _layout, _host) in enumerate(seen.blocks):
        pace = _paces.get(server_id)
        if pace is None or now - pace.since > WATCHED_FOR_S:
            first = int(seen.column[np.argmax(seen.group == number)])
            pace = _paces[server_id] = _Pace(block, first, now, written_s=pace.written_s if pace else None)
        if pace.block == block:
            watched[number] = pace.column
    of_sample = (seen.column == watched[seen.group])[seen.which]
    order = np.flatnonzero(of_sample)
    order = order[np.argsort(seen.at_ms[order], kind="stable")]
    for number, at_ms in zip(seen.group[seen.which[order]].tolist(), seen.at_ms[order].tolist(), strict=True):
        _add(_paces[seen.blocks[number][0]], at_ms, now)


def _add(pace: _Pace, at_ms: int, now: float) -> None:
    if at_ms <= pace.at_ms:
        return
    if pace.at_ms:
        pace.distances_ms.append(at_ms - pace.at_ms)
    pace.at_ms, pace.since = at_ms, now


def _write(changed: Mapping[int, int]) -> None:
    ids = sorted(changed)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH new AS (
                SELECT * FROM unnest(%s::bigint[], %s::integer[]) AS new(id, every_s)
            ), locked AS (
                -- In order of id, so that two writers do not wait for each other in a circle.
                SELECT id FROM monitoring_server WHERE id IN (SELECT id FROM new) ORDER BY id FOR NO KEY UPDATE
            )
            UPDATE monitoring_server server SET push_interval_s = new.every_s
            FROM new JOIN locked USING (id)
            WHERE server.id = new.id AND server.push_interval_s IS DISTINCT FROM new.every_s
            """,
            [ids, [changed[server_id] for server_id in ids]],
        )
