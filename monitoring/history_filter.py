"""What the history page is asked to show: read from its address, and written back into one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from django.http import QueryDict
from django.urls import reverse
from django.utils.http import urlencode

from monitoring.history.frame import FUTURE_MS
from monitoring.queries.history_page import Cursor, CursorError
from monitoring.span import ANY_TIME, FIRST_MS, LAST_MS, Span
from portal.toolkit.instants import at_ms


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    metrics: tuple[str, ...] = ()
    span: Span = ANY_TIME
    cursor: Cursor | None = None

    @classmethod
    def read(cls, query: QueryDict, own_zone: str) -> Self:
        """From the address. What is not understood is left out: an old link should still open."""
        words = (word for text in query.getlist("metric") for word in text.split(","))
        return cls(
            metrics=tuple(dict.fromkeys(word for word in words if word and "\x00" not in word))[:50],
            span=Span.read(query, own_zone),
            cursor=_cursor(query.get("cursor", "")),
        )

    def bounds(self, now: datetime) -> tuple[int, int]:
        """Epoch ms: start <= instant < end."""
        start, end = self.span.bounds(now)
        return at_ms(start) or FIRST_MS, at_ms(end) or min(at_ms(now) + FUTURE_MS, LAST_MS)

    def address(self, server_id: int, cursor: Cursor | None = None) -> str:
        """The page that shows this, from `cursor` on."""
        parts = {"metric": ",".join(self.metrics), **self.span.parts(), "cursor": str(cursor or "")}
        query = urlencode({name: value for name, value in parts.items() if value})
        return reverse("monitoring:history", args=[server_id]) + (f"?{query}" if query else "")


def _cursor(text: str) -> Cursor | None:
    try:
        return Cursor.read(text) if text else None
    except CursorError:
        return None
