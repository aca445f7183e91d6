"""What evaluation hands to the incidents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from alerts.models import Condition, Level


class Phase(IntEnum):
    """How a watch (a series and a condition) stands; a larger number is worse."""

    FINE = 0
    PENDING = 1
    INFO = 2
    WARNING = 3
    CRITICAL = 4

    @property
    def level(self) -> Level | None:
        """The level of a phase that fires, None of one that does not."""
        return _LEVELS.get(self)

    @classmethod
    def of(cls, level: Level | str) -> Phase:
        return cls[Level(level).name]


_LEVELS = {Phase.INFO: Level.INFO, Phase.WARNING: Level.WARNING, Phase.CRITICAL: Level.CRITICAL}


@dataclass(frozen=True, slots=True)
class Observation:
    """How a watch stands after the sample of `at`: a change of its phase, or only of what must be remembered.

    `value` is the sample's (None where silence, or a person, decided); `limit` that of the level it is about.
    `because` is a stored sentence when it is not the value that ended it.
    """

    server_id: int
    series_id: int
    metric: str
    labels: str
    unit: str
    condition: Condition
    threshold_id: int | None
    phase: Phase
    at: datetime
    value: float | None = None
    limit: float | None = None
    peak: float | None = None
    began_at: datetime | None = None
    warning_since: datetime | None = None
    critical_since: datetime | None = None
    warning_held: bool = False
    critical_held: bool = False
    because: str = ""
