"""What goes into history: frames of samples, and what comes back of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FUTURE_MS = 5 * 60 * 1000
"""How far ahead of our clock a sample's instant may be."""


class SeriesName(NamedTuple):
    """A metric's name and canonical labels ("" for none), as `canonical_labels` writes them."""

    metric: str
    labels: str = ""


Layout = tuple[SeriesName, ...]
"""The series of a frame, in the order of its values. Share one tuple between frames: it is looked up by hash."""


def canonical_labels(labels: Mapping[str, str]) -> str:
    """`labels` as text that is equal when the labels are: JSON-like strings, keys sorted."""
    import json

    return json.dumps(labels, sort_keys=True, ensure_ascii=False, separators=(",", ":")) if labels else ""


@dataclass(frozen=True, slots=True)
class Frame:
    """Samples of one server at one instant.

    `at_ms` is epoch milliseconds UTC; `values` has one number per entry of `layout`, NaN where there is none.
    """

    server_id: int
    at_ms: int
    layout: Layout
    values: Floats

    @classmethod
    def of(cls, server_id: int, at_ms: int, values: Mapping[str | SeriesName, float]) -> Frame:
        """A frame from a mapping; a plain string is a metric without labels."""
        layout = tuple(name if isinstance(name, SeriesName) else SeriesName(name) for name in values)
        return cls(server_id, at_ms, layout, np.fromiter(values.values(), np.float64, len(values)))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Samples that were not kept, and why, in words. `metric` is None when the whole frame was refused."""

    server_id: int
    at_ms: int
    metric: str | None
    reason: str


@dataclass(slots=True)
class Recorded:
    """The answer of `record`: everything not in `refused` is committed. `gaps` counts NaN, which is no sample."""

    batch_id: int | None = None
    kept: int = 0
    gaps: int = 0
    refused: list[Refusal] = field(default_factory=list)
