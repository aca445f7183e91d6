"""The time that a page is asked to show: read from its address, and written back into one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import ClassVar, Self

from django.http import QueryDict
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from portal.toolkit.instants import from_ms, zone_named

FIRST_MS, LAST_MS = 0, 32_503_680_000_000
"""1970 and 3000: what lies outside is cut off."""


@dataclass(frozen=True, slots=True)
class Span:
    """`range` is a word of RANGES, "" for everything, or CUSTOM with `start` and `end` (either may be open)."""

    RANGES: ClassVar[Mapping[str, int]] = {"1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
    CUSTOM: ClassVar = "custom"

    range: str = ""
    start: datetime | None = None
    end: datetime | None = None
    zone: str = ""

    @classmethod
    def read(cls, query: QueryDict, own_zone: str) -> Self:
        """From the address. What is not understood is left out: an old link should still open.

        An instant without a zone is of the person's own, else of the browser's, which comes as `zone`.
        """
        said = query.get("range", "")
        if said in cls.RANGES:
            return cls(range=said)
        zone = own_zone or query.get("zone", "")[:64]
        start, end = (_instant(query.get(name, ""), zone_named(zone)) for name in ("from", "to"))
        return cls(cls.CUSTOM, start, end, zone) if start or end else cls()

    @classmethod
    def ranges(cls) -> list[tuple[str, str]]:
        """(word in the address, what people read), for a choice."""
        return [(word, _says(seconds // 3600)) for word, seconds in cls.RANGES.items()]

    def bounds(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """start <= instant < end; None is open, as the end of what goes on until now is."""
        if self.range in self.RANGES:
            return now - timedelta(seconds=self.RANGES[self.range]), None
        return self.start, self.end

    def parts(self) -> dict[str, str]:
        """What an address says of it; "" is left out of one."""
        return {
            "range": self.range if self.range in self.RANGES else "",
            "from": said(self.start),
            "to": said(self.end),
        }

    def local(self, instant: datetime | None) -> str:
        """As a datetime-local field has it, in the person's zone."""
        return instant.astimezone(zone_named(self.zone)).strftime("%Y-%m-%dT%H:%M:%S") if instant else ""

    @property
    def start_local(self) -> str:
        return self.local(self.start)

    @property
    def end_local(self) -> str:
        return self.local(self.end)


ANY_TIME = Span()


def said(instant: datetime | None) -> str:
    """An instant as addresses have it."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z") if instant else ""


def _says(hours: int) -> str:
    if hours <= 24:
        return ngettext("Last hour", "Last %(n)d hours", hours) % {"n": hours}
    return _("Last %(n)d days") % {"n": hours // 24}


def _instant(text: str, zone: tzinfo) -> datetime | None:
    try:
        found = parse_datetime(text[:40])
        instant = (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC) if found else None
    except (ValueError, OverflowError):
        return None
    if instant is None or not from_ms(FIRST_MS) <= instant < from_ms(LAST_MS):
        return None
    return instant
