"""How long it takes from a commit to the bytes on their way to a browser; of this process, frame by frame."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

BOUNDS_S = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper ends of the buckets; one more has what took longer."""
SHARES = (0.5, 0.95, 0.99)
SLOT_S, SLOTS = 60.0, 5
MOST_LAG_S = 60.0
"""More than this is a clock that is wrong, or nonsense."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of the last minutes, in ms; None: there were no frames."""

    frames: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


class Delays:
    """Counts in buckets: some since the process began, as a histogram is read, some of the last minutes.

    Lives in one thread; others may read it.
    """

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0
        self._slots: deque[list[int]] = deque([[0] * len(self.counts)], maxlen=SLOTS)
        self._slot_ends_at = time.monotonic() + SLOT_S

    def note(self, delay_s: float, frames: int = 1) -> None:
        """So many frames were handed to their sockets so long after the commit of the oldest change in them."""
        bucket = bisect_left(BOUNDS_S, delay_s)
        self.counts[bucket] += frames
        self.total_s += delay_s * frames
        self._slots[-1][bucket] += frames

    def turn(self) -> None:
        """Call it every few seconds: what is older than some minutes is forgotten."""
        now = time.monotonic()
        if now >= self._slot_ends_at:
            self._slots.append([0] * len(self.counts))
            self._slot_ends_at = now + SLOT_S

    @property
    def recent(self) -> list[int]:
        return [sum(column) for column in zip(*self._slots, strict=True)]


def quantiles(counts: Sequence[int]) -> Quantiles:
    """What the counts of buckets say; those of several processes may be added up before."""
    return Quantiles(sum(counts), *(_quantile_ms(counts, share) for share in SHARES))


def _quantile_ms(counts: Sequence[int], share: float) -> float | None:
    """Between the bounds of its bucket as if the frames in there were spread evenly; of the last one its lower end."""
    wanted = share * sum(counts)
    below = 0
    for bucket, count in enumerate(counts):
        if count and below + count >= wanted:
            lower = BOUNDS_S[bucket - 1] if bucket else 0.0
            upper = BOUNDS_S[bucket] if bucket < len(BOUNDS_S) else lower
            return round(1000 * (lower + (upper - lower) * (wanted - below) / count), 1)
        below += count
    return None


def lag_s(committed_ms: object, now_ms: int) -> float:
    """How long ago a commit was that another process tells of, whose clock may differ."""
    if not isinstance(committed_ms, int):
        return 0.0
    lag = (now_ms - committed_ms) / 1000
    return lag if 0.0 <= lag <= MOST_LAG_S else 0.0


delays = Delays()
"""This process's."""
