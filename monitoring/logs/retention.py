"""How long lines are kept, by group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from monitoring.models import Retention, Server

DAY_NS = 86_400_000_000_000
REMEMBERED_S = 5.0


@dataclass(frozen=True, slots=True)
class Days:
    """Days that lines are kept: by groups with a rule of their own, and by all others."""

    general: int
    of_groups: Mapping[int, int]

    def of(self, group_id: int) -> int:
        return self.of_groups.get(group_id, self.general)

    @property
    def longest(self) -> int:
        return max(self.general, *self.of_groups.values(), 0)


def rules() -> Days:
    """One query."""
    said: dict[int | None, int] = dict(Retention.objects.values_list("group_id", "logs_days"))
    general = said.pop(None, settings.RETENTION_LOGS_DAYS)
    return Days(general, {group_id: days for group_id, days in said.items() if group_id})


_remembered: tuple[float, Days, dict[int, int]] | None = None


def floors(now_ns: int) -> tuple[int, dict[int, int]]:
    """Lines before these instants are not shown: of all servers, and later ones of servers that keep less.

    Two queries, at most each REMEMBERED_S.
    """
    global _remembered
    if _remembered is None or time.monotonic() > _remembered[0]:
        said = rules()
        groups = {group_id: days for group_id in said.of_groups if (days := said.of(group_id)) < said.longest}
        servers = Server.objects.all() if said.general < said.longest else Server.objects.filter(group__in=groups)
        days_of = {pk: said.of(group_id) for pk, group_id in servers.values_list("pk", "group_id")}
        shorter = {pk: days for pk, days in days_of.items() if days < said.longest}
        _remembered = (time.monotonic() + REMEMBERED_S, said, shorter)
    _, said, shorter = _remembered
    return now_ns - said.longest * DAY_NS, {pk: now_ns - days * DAY_NS for pk, days in shorter.items()}


def forget() -> None:
    """Ask again what the rules are."""
    global _remembered
    _remembered = None
