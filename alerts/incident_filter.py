"""What a person asked to see of the incidents; it lives in the page's address and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Self
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.urls import reverse

from alerts.models import Incident, IncidentStatus, Level

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """After which incident a page begins. `rank` is its level's among the open ones, None of one that is resolved."""

    rank: int | None
    began_at: datetime
    pk: int

    @classmethod
    def of(cls, incident: Incident) -> Self:
        return cls(None if incident.resolved_at else incident.level_rank, incident.began_at, incident.pk)

    @classmethod
    def read(cls, text: str) -> Self | None:
        """None for what `__str__` did not write."""
        rank, _, rest = text.partition(".")
        began_us, _, pk = rest.partition(".")
        numbers = [rank or "0", began_us, pk]
        if not all(part.isascii() and part.isdecimal() and len(part) < 17 for part in numbers):
            return None
        return cls(int(rank) if rank else None, EPOCH + timedelta(microseconds=int(began_us)), int(pk))

    def __str__(self) -> str:
        rank = "" if self.rank is None else self.rank
        return f"{rank}.{(self.began_at - EPOCH) // timedelta(microseconds=1)}.{self.pk}"


@dataclass(frozen=True, slots=True)
class IncidentFilter:
    """`status` is OPEN, ALL or an incident's status; `owner` is "", MINE or NOBODY (it fires and nobody has it)."""

    OPEN: ClassVar = "open"
    ALL: ClassVar = "all"
    MINE: ClassVar = "mine"
    NOBODY: ClassVar = "nobody"
    STATUSES: ClassVar = (OPEN, *IncidentStatus.values, ALL)

    status: str = OPEN
    level: str = ""
    group: str = ""
    server: str = ""
    owner: str = ""
    text: str = ""
    after: Place | None = None

    @classmethod
    def read(cls, query: QueryDict) -> Self:
        """From the address. What is not understood is left out: an old link should still open."""
        status, level, owner = (query.get(name, "") for name in ("status", "level", "owner"))
        return cls(
            status=status if status in cls.STATUSES else cls.OPEN,
            level=level if level in Level.values else "",
            group=_number(query.get("group", "")),
            server=_number(query.get("server", "")),
            owner=owner if owner in (cls.MINE, cls.NOBODY) else "",
            text=" ".join(query.get("q", "").replace("\x00", "").split())[:200],
            after=Place.read(query.get("after", "")),
        )

    @property
    def narrows(self) -> bool:
        """Whether it shows less than its status alone."""
        return bool(self.level or self.group or self.server or self.owner or self.text)

    @property
    def shows_open(self) -> bool:
        return self.status != IncidentStatus.RESOLVED

    @property
    def shows_resolved(self) -> bool:
        return self.status in (IncidentStatus.RESOLVED, self.ALL) and self.owner != self.NOBODY

    def address(self, *, after: Place | None = None) -> str:
        """The page's address that shows this, without what is as it starts; from the first incident, or `after` one."""
        parts = {"status": "" if self.status == self.OPEN else self.status, "level": self.level, "group": self.group}
        parts |= {"server": self.server, "owner": self.owner, "q": self.text, "after": str(after) if after else ""}
        query = urlencode({name: value for name, value in parts.items() if value})
        return reverse("alerts:list") + (f"?{query}" if query else "")

    def with_status(self, status: str) -> str:
        """The address of the same with another status."""
        return replace(self, status=status).address()

    def apply(self, incidents: QuerySet[Incident], person_id: int | None) -> QuerySet[Incident]:
        """The incidents of `incidents` that match, their place in the list not considered. In no order."""
        exact = {"level": self.level, "server_id": self.server}
        exact |= {"status": self.status if self.status in IncidentStatus.values else ""}
        incidents = incidents.filter(**{name: value for name, value in exact.items() if value})
        if self.group:
            incidents = incidents.filter(Q(server__group_id=self.group) | Q(server=None, group_id=self.group))
        if self.owner == self.MINE:
            incidents = incidents.filter(acknowledged_by_id=person_id)
        elif self.owner == self.NOBODY:
            incidents = incidents.filter(status=IncidentStatus.FIRING)
        for word in self.text.split():
            incidents = incidents.filter(_says(word))
        return incidents.order_by()


def _says(word: str) -> Q:
    """In a name as it is now or was then, or "#12"."""
    anywhere = Q(server_name__icontains=word) | Q(server__name__icontains=word) | Q(group__name__icontains=word)
    number = _number(word.removeprefix("#"))
    return anywhere | Q(pk=number) if number else anywhere


def _number(text: str) -> str:
    return str(int(text)) if text.isascii() and text.isdecimal() and len(text) < 18 else ""
