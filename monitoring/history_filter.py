"""What the history page is asked to show: read from its address, and written back into one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar, Self

from django.http import QueryDict
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.http import urlencode

from monitoring.history.frame import FUTURE_MS
from monitoring.queries.history_page import FIRST_MS, LAST_MS, Cursor, CursorError
from portal.toolkit.instants import at_ms, from_ms, zone_named


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """`range` is a word of RANGES, "" for everything, or CUSTOM with `start` and `end` (either may be open)."""

    RANGES: ClassVar = {"1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
    CUSTOM: ClassVar = "custom"

    metrics: tuple[str, ...] = ()
    range: str = ""
    start: datetime | None = None
    end: datetime | None = None
    zone: str = ""
    cursor: Cursor | None = None

    @classmethod
    def read(cls, query: QueryDict, own_zone: str) -> Self:
        """From the address. What is not understood is left out: an old link should still open.

        An instant without a zone is of the person's own, else of the browser's, which comes as `zone`.
        """
        zone = own_zone or query.get("zone", "")[:64]
        start, end = (_instant(query.get(name, ""), zone_named(zone)) for name in ("from", "to"))
        said = query.get("range", "")
        span = said if said in cls.RANGES else ""
        words = (word for text in query.getlist("metric") for word in text.split(","))
        return cls(
            metrics=tuple(dict.fromkeys(word for word in words if word and "\x00" not in word))[:50],
            range=span or (cls.CUSTOM if start or end else ""),
            start=None if span else start,
            end=None if span else end,
            zone="" if span else zone,
            cursor=_cursor(query.get("cursor", "")),
        )

    def bounds(self, now: datetime) -> tuple[int, int]:
        """Epoch ms: start <= instant < end."""
        if self.range in self.RANGES:
            return at_ms(now - timedelta(seconds=self.RANGES[self.range])), at_ms(now) + FUTURE_MS
        return at_ms(self.start) or FIRST_MS, at_ms(self.end) or min(at_ms(now) + FUTURE_MS, LAST_MS)

    def address(self, server_id: int, cursor: Cursor | None = None) -> str:
        """The page that shows this, from `cursor` on."""
        parts = {"metric": ",".join(self.metrics), "range": self.range if self.range in self.RANGES else ""}
        parts |= {"from": _said(self.start), "to": _said(self.end), "cursor": str(cursor or "")}
        query = urlencode({name: value for name, value in parts.items() if value})
        return reverse("monitoring:history", args=[server_id]) + (f"?{query}" if query else "")

    def local(self, instant: datetime | None) -> str:
        """As a datetime-local field has it, in the person's zone."""
        return instant.astimezone(zone_named(self.zone)).strftime("%Y-%m-%dT%H:%M:%S") if instant else ""

    @property
    def start_local(self) -> str:
        return self.local(self.start)

    @property
    def end_local(self) -> str:
        return self.local(self.end)


def _instant(text: str, zone: tzinfo) -> datetime | None:
    try:
        found = parse_datetime(text[:40])
        instant = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC) if found else None
    except (ValueError, OverflowError):
        return None
    if instant is None or not from_ms(FIRST_MS) <= instant < from_ms(LAST_MS):
        return None
    return instant


def _said(instant: datetime | None) -> str:
    return instant.isoformat().replace("+00:00", "Z") if instant else ""


def _cursor(text: str) -> Cursor | None:
    try:
        return Cursor.read(text) if text else None
    except CursorError:
        return None
