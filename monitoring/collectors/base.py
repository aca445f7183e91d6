"""What every collector is: a module of this folder, named as `Collector` names it, with a `collect`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from monitoring.history.frame import SeriesName
from monitoring.models import ServerKind, Source
from portal.toolkit.sentence import SaidError


class CollectError(SaidError):
    """Nothing was collected; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a source lists and that is a server of its own: a container, a pod, a machine in a cloud.

    `name` is unique within the source; the server is called "<the source's server>/<name>".
    """

    name: str
    kind: ServerKind
    values: Mapping[SeriesName, float]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Collected:
    """What one run brought, all of one instant. NaN is a gap: known series of which nothing can be said now.

    `samples` counts what the target showed, `complaint` says what of it could not be used: a stored sentence
    (portal.toolkit.sentence), "" for nothing.
    `found` is everything that the source lists, None when it is no kind of source that lists anything.
    """

    values: Mapping[SeriesName, float]
    samples: int
    complaint: str = ""
    found: Sequence[Found] | None = None


class Collect(Protocol):
    def __call__(self, source: Source, now_ms: int) -> Collected:
        """Read `source` now (epoch ms), within its time-out. Raises CollectError. Touches no database."""
        ...


def collector(name: str) -> Collect:
    """The `collect` of the collector that `Source.collector` names."""
    return cast(Collect, import_module(f"{__package__}.{name}").collect)
