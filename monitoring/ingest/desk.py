"""Where each series of a body goes: what a token sent in the last seconds is found in one look."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.history.frame import Layout, SeriesName
from monitoring.history.series import SeriesBudget
from monitoring.ingest import hosts, shelves
from monitoring.ingest.points import Points, PointSeries
from monitoring.ingest.shelves import Shelf
from monitoring.models import SLOTS_PER_BLOCK, PushToken

KNOWN_FOR_S = 5.0
"""Servers are renamed, moved to other groups and deleted."""
TOKENS_KEPT = 1_000


class Block(NamedTuple):
    server_id: int
    block: int
    layout: Layout
    host: str


@dataclass(frozen=True, slots=True)
class Spots:
    """Series i of a body is in `column[i]` of `blocks[group[i]]`; or nowhere, when group is -1: see `objections[i]`."""

    blocks: Sequence[Block]
    group: NDArray[np.intp]
    column: NDArray[np.intp]
    objections: dict[int, str]


@dataclass(slots=True)
class _Desk:
    """What a token's series were found to be: `codes` are number of the block * SLOTS_PER_BLOCK + column."""

    until: float
    codes: dict[PointSeries, int] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    numbers: dict[tuple[int, int], int] = field(default_factory=dict)


_desks: dict[tuple[int, int], _Desk] = {}
"""By token and its group."""
_filling = threading.Lock()


def spots_for(points: Points, token: PushToken) -> Spots:
    """The spots of a body's series; new hosts and series get theirs if the token allows and has room for them.

    No query for what was known in the last KNOWN_FOR_S seconds. Must not be called inside a transaction.
    """
    desk = _desk_of(token)
    codes = list(map(desk.codes.get, points.series))
    objections: dict[int, str] = {}
    if None in codes:
        desk, objections = _find(points, token, desk)
        codes = list(map(desk.codes.get, points.series))
    numbers = np.array([-1 if code is None else code for code in codes], np.intp)
    used, group = np.unique(numbers // SLOTS_PER_BLOCK, return_inverse=True)
    nowhere = int(used.size > 0 and used[0] < 0)  # -1 comes first
    blocks = [desk.blocks[number] for number in used[nowhere:].tolist()]
    return Spots(blocks, group.reshape(-1) - nowhere, numbers % SLOTS_PER_BLOCK, objections)


def forget() -> None:
    with _filling:
        _desks.clear()


def _desk_of(token: PushToken) -> _Desk:
    now = time.monotonic()
    desk = _desks.get((token.pk, token.group_id))
    if desk is None or desk.until < now:
        with _filling:
            if len(_desks) > TOKENS_KEPT:
                _desks.clear()
            desk = _desks[token.pk, token.group_id] = _Desk(now + KNOWN_FOR_S)
    return desk


def _find(points: Points, token: PushToken, desk: _Desk) -> tuple[_Desk, dict[int, str]]:
    """The desk with what was missing on it, and why some of it could not be put there."""
    known = hosts.servers_of(token, dict.fromkeys(series.host for series in points.series), points.hosts)
    shelf_of, refused = _stock(points.series, known, token)
    objections: dict[int, str] = {}
    with _filling:
        if _is_outgrown(desk, shelf_of):
            desk = _desks[token.pk, token.group_id] = _Desk(time.monotonic() + KNOWN_FOR_S)
        for index, series in enumerate(points.series):
            server_id = known[series.host]
            if isinstance(server_id, str):
                objections[index] = server_id
            elif series.name in shelf_of[server_id].spots:
                _put(desk, series, server_id, shelf_of[server_id])
            else:
                objections[index] = refused[server_id, series.name]
    return desk, objections


def _stock(series: Sequence[PointSeries], known: hosts.Known, token: PushToken) -> shelves.Stocked:
    """The shelves of the body's servers, with the series that are new; and why some of these got no place."""
    shelf_of = {pk: shelves.shelf(pk) for pk in known.values() if isinstance(pk, int)}
    wanted: dict[int, dict[SeriesName, None]] = defaultdict(dict)
    for host, name in series:
        server_id = known[host]
        if isinstance(server_id, int) and name not in shelf_of[server_id].spots:
            wanted[server_id][name] = None
    stocked = shelves.stock(wanted, SeriesBudget(token.pk, token.series_budget))
    return shelves.Stocked(shelf_of | stocked.shelves, stocked.objections)


def _is_outgrown(desk: _Desk, shelf_of: dict[int, Shelf]) -> bool:
    """Whether a block has another layout by now: samples of one instant should not be cut by the age of their names."""
    return any(
        shelf_of[block.server_id].layouts[block.block] is not block.layout
        for block in desk.blocks
        if block.server_id in shelf_of
    )


def _put(desk: _Desk, series: PointSeries, server_id: int, shelf: Shelf) -> None:
    spot = shelf.spots[series.name]
    number = desk.numbers.get((server_id, spot.block))
    if number is None:
        number = desk.numbers[server_id, spot.block] = len(desk.blocks)
        desk.blocks.append(Block(server_id, spot.block, shelf.layouts[spot.block], series.host))
    desk.codes[series] = number * SLOTS_PER_BLOCK + spot.column
