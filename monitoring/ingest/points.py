"""What every protocol makes of a body: samples in columns, and what of the body could not be taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName


class PointSeries(NamedTuple):
    """A series as its sender names it: `host` is the name of the server."""

    host: str
    name: SeriesName


@dataclass(frozen=True, slots=True)
class Rejected:
    """A part of a body that was not taken: `where` it is ("frames[3].metrics.cpu"), and why, in words.

    `count` is how many samples that were.
    """

    where: str
    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a sender tells of a host; it counts when the host joins. `kind` is a ServerKind."""

    kind: str = "host"
    description: str = ""


@dataclass(slots=True)
class Points:
    """Samples in columns: sample i is of `series[which[i]]`, at `at_ms[i]` (epoch ms UTC), with `values[i]`.

    NaN and stale markers are left out and counted in `gaps`; infinities are in `rejected`. `counters` names the metrics
    that only grow. Where the sender tells it, `intervals_s` says how often a host sends, and `hosts` what it is.
    """

    series: list[PointSeries] = field(default_factory=list)
    which: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, np.intp))
    at_ms: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    values: Floats = field(default_factory=lambda: np.empty(0, np.float64))
    gaps: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    counters: set[str] = field(default_factory=set)
    intervals_s: dict[str, int] = field(default_factory=dict)
    hosts: dict[str, HostFacts] = field(default_factory=dict)


class BadBodyError(Exception):
    """Nothing of the body can be taken; the message says what is wrong and where, in words.

    `status` is 400, 413 or 415.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
