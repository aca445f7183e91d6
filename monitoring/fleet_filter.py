"""What a person asked to see of the fleet; it lives in the page's address and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self
from urllib.parse import urlencode

from django.db.models import Q, QuerySet
from django.http import QueryDict
from django.urls import reverse

from monitoring.models import Server, ServerKind, ServerState


@dataclass(frozen=True, slots=True)
class FleetFilter:
    SORTS: ClassVar = ("worst", "name", "cpu", "memory")

    state: str = ""
    kind: str = ""
    group: str = ""
    text: str = ""
    sort: str = "worst"
    page: int = 1

    @classmethod
    def read(cls, query: QueryDict) -> Self:
        """From the address. What is not understood is left out: an old link should still open."""
        state, kind, sort = (query.get(name, "") for name in ("state", "kind", "sort"))
        group, page = query.get("group", ""), query.get("page", "")
        return cls(
            state=state if state in ServerState.values else "",
            kind=kind if kind in ServerKind.values else "",
            group=str(int(group)) if group.isdecimal() and len(group) < 18 else "",
            text=" ".join(query.get("q", "").replace("\x00", "").split())[:200],
            sort=sort if sort in cls.SORTS else "worst",
            page=max(1, int(page)) if page.isdecimal() and len(page) < 8 else 1,
        )

    @property
    def narrows(self) -> bool:
        return bool(self.state or self.kind or self.group or self.text)

    def address(self, page: int | None = None) -> str:
        """The page's address that shows this, without what is as it starts; of page `page` if told."""
        said = replace(self, page=page) if page else self
        parts = {"state": said.state, "kind": said.kind, "group": said.group, "q": said.text}
        parts |= {"sort": said.sort if said.sort != "worst" else "", "page": str(said.page) if said.page > 1 else ""}
        query = urlencode({name: value for name, value in parts.items() if value})
        return reverse("monitoring:fleet") + (f"?{query}" if query else "")

    def apply(self, servers: QuerySet[Server]) -> QuerySet[Server]:
        """The servers of `servers` that match, in no order."""
        exact = {"state": self.state, "kind": self.kind, "group_id": self.group}
        servers = servers.filter(**{name: value for name, value in exact.items() if value})
        for word in self.text.split():
            anywhere = Q(name__icontains=word) | Q(description__icontains=word) | Q(group__name__icontains=word)
            servers = servers.filter(anywhere)
        return servers.order_by()
