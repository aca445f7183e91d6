"""How long history is kept: what admins said of each group, and what has really left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db.models import Max

from monitoring.models import Retention, Server, Trimmed
from portal.toolkit.instants import at_ms

DAY_MS = 86_400_000


class Kept(NamedTuple):
    """Days that samples and roll-ups by 1 min, 15 min and 1 h are kept."""

    samples: int
    minutes: int
    quarters: int
    hours: int


class Left(NamedTuple):
    """Epoch ms: of samples and roll-ups by 1 min, 15 min and 1 h, all that is older has left. 0: nothing has."""

    samples: int = 0
    minutes: int = 0
    quarters: int = 0
    hours: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the groups that have rules of their own, and for all others."""

    general: Kept
    of_groups: Mapping[int, Kept]

    def of(self, group_id: int) -> Kept:
        return self.of_groups.get(group_id, self.general)

    @property
    def longest(self) -> Kept:
        return Kept(*map(max, zip(self.general, *self.of_groups.values(), strict=True)))


def rules() -> Rules:
    """One query."""
    rows = Retention.objects.values_list("group_id", "samples_days", "minutes_days", "quarters_days", "hours_days")
    said: dict[int | None, Kept] = {group_id: Kept(*days) for group_id, *days in rows}
    return Rules(said.get(None, by_settings()), {group_id: kept for group_id, kept in said.items() if group_id})


def by_settings() -> Kept:
    return Kept(settings.RETENTION_DAYS, *(settings.ROLLUP_DAYS[step_s] for step_s in (60, 900, 3600)))


def surely_kept_ms(now_ms: int) -> int:
    """From this instant on everything is kept, whatever the rules are: they begin at one day."""
    return now_ms - DAY_MS


def sample_days(server_ids: Collection[int]) -> dict[int, int]:
    """Server id → the days that its samples are kept; a server that does not exist is left out. Two queries."""
    said = rules()
    groups = Server.objects.filter(pk__in=server_ids).values_list("pk", "group_id")
    return {server_id: said.of(group_id).samples for server_id, group_id in groups}


def cutoffs(kept: Kept, now: datetime, compacted_ms: int) -> Left:
    """What must have left by `now`, by whole days (UTC); samples not before their day is rolled up."""
    now_ms = int(now.timestamp() * 1000)
    days = Left(*(max(0, (now_ms - days * DAY_MS) // DAY_MS * DAY_MS) for days in kept))
    return days._replace(samples=min(days.samples, compacted_ms))


def left_of(server_ids: Iterable[int]) -> Left:
    """What has left of the servers' history, of any of them. One query."""
    columns = Trimmed.columns()
    left = Trimmed.objects.filter(server_id__in=list(server_ids)).aggregate(
        **{f"most_{column}": Max(column) for column in columns}
    )
    return Left(*(at_ms(left[f"most_{column}"]) or 0 for column in columns))
