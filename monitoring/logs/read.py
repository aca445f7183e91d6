"""Blocks, read: those that a process has unpacked it keeps for a while, since no block ever changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import date

from django.db import connection

from monitoring.logs.codec import Block, unpack_block

__all__ = ["Block", "blocks", "fetched", "forget"]

Key = tuple[date, int]
"""A block's day and id."""

KEPT_BYTES = 64 * 2**20
"""Of unpacked blocks, in each process."""


class _Shelf:
    """The blocks that were asked for last, as many as fit into `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._blocks: OrderedDict[int, tuple[Block, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, block_id: int) -> Block | None:
        with self._lock:
            if block_id not in self._blocks:
                return None
            self._blocks.move_to_end(block_id)
            return self._blocks[block_id][0]

    def put(self, block: Block) -> None:
        size = block.nbytes
        with self._lock:
            self._forget(block.id)
            self._blocks[block.id] = (block, size)
            self._bytes += size
            while self._bytes > self._most:
                self._forget(next(iter(self._blocks)))

    def clear(self) -> None:
        with self._lock:
            self._blocks.clear()
            self._bytes = 0

    def _forget(self, block_id: int) -> None:
        _, size = self._blocks.pop(block_id, (None, 0))
        self._bytes -= size


_shelf = _Shelf(KEPT_BYTES)


def blocks(keys: Sequence[Key]) -> dict[int, Block]:
    """Id → block; one that the merger has replaced is missing. One query, for what is not in memory."""
    found = {block_id: block for _, block_id in keys if (block := _shelf.get(block_id))}
    new = fetched([key for key in keys if key[1] not in found])
    for block in new.values():
        _shelf.put(block)
    return found | new


def fetched(keys: Sequence[Key]) -> dict[int, Block]:
    """As `blocks`, for whoever needs each only once: nothing is kept in memory."""
    return {block.id: block for block in _fetch(keys)} if keys else {}


def forget() -> None:
    """Of this process: in another database the same ids are other blocks."""
    _shelf.clear()


def _fetch(keys: Iterable[Key]) -> list[Block]:
    days, ids = zip(*keys, strict=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, head, body FROM monitoring_logblock WHERE day = ANY(%s) AND id = ANY(%s)",
            [sorted(set(days)), list(ids)],
        )
        return [unpack_block(block_id, bytes(head), bytes(body)) for block_id, head, body in cursor.fetchall()]
