"""How many lines: by the minute (or a coarser step), server, source and level, as columns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import cramjam
import numpy as np
import orjson
from numpy.typing import NDArray

from monitoring.history.codec import Ints, join, pack, split, unpack_ints
from monitoring.logs.columns import joined

MINUTE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Tally:
    """One element for each step, server, source and level that had lines: `steps` since the epoch, `counts` above 0."""

    steps: Ints
    server_ids: Ints
    sources: list[str]
    source_of: Ints
    levels: Ints
    counts: Ints

    @classmethod
    def none(cls) -> Tally:
        nothing = np.zeros(0, np.int64)
        return cls(nothing, nothing, [], nothing, nothing, nothing)

    @classmethod
    def joined(cls, tallies: Sequence[Tally]) -> Tally:
        """All of these, which are of one step; what stands for the same may stand there several times."""
        if not tallies:
            return cls.none()
        sources, source_of = joined([(tally.sources, tally.source_of.astype(np.int32)) for tally in tallies])
        steps, server_ids, levels, counts = (
            np.concatenate([getattr(tally, name) for tally in tallies])
            for name in ("steps", "server_ids", "levels", "counts")
        )
        return cls(steps, server_ids, sources, source_of.astype(np.int64), levels, counts)

    def summed(self) -> Tally:
        """What stands for the same is one element, and all are in order."""
        if not len(self.steps):
            return self
        order = np.lexsort((self.steps, self.levels, self.source_of, self.server_ids))
        columns = [column[order] for column in (self.steps, self.server_ids, self.source_of, self.levels)]
        begins = np.append(True, np.any([np.diff(column) != 0 for column in columns], axis=0))
        starts = np.flatnonzero(begins)
        steps, server_ids, source_of, levels = (column[starts] for column in columns)
        counts = np.add.reduceat(self.counts[order], starts)
        return Tally(steps, server_ids, self.sources, source_of, levels, counts)

    def coarser(self, factor: int) -> Tally:
        """By a step that is `factor` times as long."""
        steps = self.steps // factor
        return Tally(steps, self.server_ids, self.sources, self.source_of, self.levels, self.counts).summed()

    def where(self, wanted: NDArray[np.bool_]) -> Tally:
        return Tally(
            self.steps[wanted],
            self.server_ids[wanted],
            self.sources,
            self.source_of[wanted],
            self.levels[wanted],
            self.counts[wanted],
        )

    def of_sources(self, names: Collection[str]) -> NDArray[np.bool_]:
        """Which elements are of these sources."""
        return np.array([name in names for name in self.sources], np.bool_)[self.source_of]

    def packed(self) -> bytes:
        """`unpacked` gives it back; best after `summed`. At least one element."""
        names = bytes(cramjam.zstd.compress(orjson.dumps(self.sources), 3))
        columns = (self.steps, self.server_ids, self.source_of, self.levels, self.counts)
        return join([names, *(pack(column) for column in columns)])


def unpacked(packed: bytes) -> Tally:
    names, *columns = split(packed)
    steps, server_ids, source_of, levels, counts = (unpack_ints(column) for column in columns)
    sources = orjson.loads(bytes(cramjam.zstd.decompress(names)))
    return Tally(steps, server_ids, sources, source_of, levels, counts)
