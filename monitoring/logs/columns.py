"""Any number of lines as columns: put together, put in order, cut into blocks. No Python for single lines, but for
those that look the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from monitoring.history.codec import Ints
from monitoring.logs.codec import END, Block, Bytes, Codes, Said, number_of

LINES_A_BLOCK = 1_000
BYTES_A_BLOCK = 2**20
"""Of text. A block of long lines has fewer of them."""

Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Columns:
    """As in Block, the first of the docs too; `raws` are the texts as UTF-8, `is_new` says which lines no merge has
    counted yet.
    """

    at_ns: Ints
    levels: Bytes
    server_ids: Ints
    sources: list[str]
    source_of: Codes
    field_docs: list[bytes]
    field_of: Codes
    cuts: Ints
    raws: list[bytes]
    is_new: NDArray[np.bool_]

    @classmethod
    def of(cls, blocks: Sequence[Block], new: Sequence[bool]) -> Columns:
        """The lines of these blocks, at least one, one block after another."""
        sources, source_of = joined([(block.sources, block.source_of) for block in blocks])
        field_docs, field_of = joined([(block.field_docs, block.field_of) for block in blocks])
        return cls(
            np.concatenate([block.at_ns for block in blocks]),
            np.concatenate([block.levels for block in blocks]),
            np.concatenate([block.server_ids for block in blocks]),
            sources,
            source_of,
            field_docs,
            field_of,
            np.concatenate([block.cuts for block in blocks]),
            list(chain.from_iterable(block.texts.split(END)[:-1] for block in blocks)),
            np.repeat(new, [block.count for block in blocks]),
        )

    @property
    def count(self) -> int:
        return len(self.at_ns)

    def numbers(self, places: Places) -> Ints:
        """What these lines say, as `Position.number`."""
        columns = (self.server_ids, self.levels, self.cuts, self.source_of, self.field_of)
        rows = zip(*(column[places].tolist() for column in columns), places.tolist(), strict=True)
        sources, docs, raws = self.sources, self.field_docs, self.raws
        numbers = (
            number_of(server_id, level, sources[source], cut, docs[doc], raws[place])
            for server_id, level, cut, source, doc, place in rows
        )
        return np.fromiter(numbers, np.int64, len(places))

    def taken(self, places: Places) -> Columns:
        """These lines, in this order."""
        return Columns(
            self.at_ns[places],
            self.levels[places],
            self.server_ids[places],
            self.sources,
            self.source_of[places],
            self.field_docs,
            self.field_of[places],
            self.cuts[places],
            [self.raws[place] for place in places.tolist()],
            self.is_new[places],
        )

    def sorted(self) -> Columns:
        """By position, each once. Of lines that are the same one that was counted stays."""
        order = np.argsort(self.at_ns, kind="stable")
        same = np.diff(self.at_ns[order]) == 0
        if not same.any():
            return self.taken(order)
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        numbers = np.zeros(self.count, np.int64)
        numbers[order[tied]] = self.numbers(order[tied])
        order = np.lexsort((self.is_new, numbers, self.at_ns))
        again = np.append(False, (np.diff(self.at_ns[order]) == 0) & (np.diff(numbers[order]) == 0))
        return self.taken(order[~again])

    def blocks(self) -> Iterator[Block]:
        """Cut, in order, into blocks that are as full as may be."""
        reach = np.append(0, np.cumsum(np.fromiter(map(len, self.raws), np.int64, self.count)))
        start = 0
        while start < self.count:
            most = int(np.searchsorted(reach, reach[start] + BYTES_A_BLOCK, "right")) - 1
            end = min(max(most, start + 1), start + LINES_A_BLOCK, self.count)
            yield self.block(slice(start, end))
            start = end

    def block(self, part: slice) -> Block:
        """Part of the lines as one block, whose dictionaries have no more than it needs."""
        sources, source_of = _needed(self.sources, self.source_of[part])
        docs, field_of = _needed(self.field_docs, np.append(np.int32(0), self.field_of[part]))
        block = Block(
            self.at_ns[part],
            self.levels[part],
            self.server_ids[part],
            sources,
            source_of,
            field_of[1:],
            self.cuts[part],
        )
        block.__dict__["texts"] = END.join([*self.raws[part], b""])
        block.__dict__["field_docs"] = docs
        return block


def coded(values: Sequence[Said]) -> tuple[list[Said], Codes]:
    """The distinct values in order of appearance, and which of them each one is."""
    places = {value: place for place, value in enumerate(dict.fromkeys(values))}
    return list(places), np.fromiter(map(places.__getitem__, values), np.int32, len(values))


def joined(parts: Sequence[tuple[list[Said], Codes]]) -> tuple[list[Said], Codes]:
    """Several dictionaries with their codes as one."""
    places: dict[Said, int] = {}
    codes = []
    for values, own in parts:
        new = np.array([places.setdefault(value, len(places)) for value in values], np.int32)
        codes.append(new[own])
    return list(places), np.concatenate(codes)


def _needed(values: list[Said], codes: Codes) -> tuple[list[Said], Codes]:
    """The same codes with a dictionary that has nothing else, in order of appearance."""
    used, first, own = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    return [values[code] for code in used[order].tolist()], rank[own]
