"""Instants leave the portal as `<time>` in UTC; the browser says them in the person's zone (static/js/time.js)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import overload
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.utils.safestring import SafeString

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@overload
def at_ms(instant: datetime) -> int: ...
@overload
def at_ms(instant: None) -> None: ...
@overload
def at_ms(instant: datetime | None) -> int | None: ...
def at_ms(instant: datetime | None) -> int | None:
    return None if instant is None else int(instant.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


@overload
def at_ns(instant: datetime) -> int: ...
@overload
def at_ns(instant: None) -> None: ...
@overload
def at_ns(instant: datetime | None) -> int | None: ...
def at_ns(instant: datetime | None) -> int | None:
    """Exact: no float has the nanoseconds of today."""
    return None if instant is None else (instant - EPOCH) // timedelta(microseconds=1) * 1000


def from_ns(nanoseconds: int) -> datetime:
    """What is less than a microsecond is cut off."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def iso(instant: datetime) -> str:
    """ISO 8601 in UTC with milliseconds, as programs get it: 2026-01-31T12:00:00.000Z."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def zone_named(name: str) -> ZoneInfo:
    """UTC when the system does not know it, or not any more."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def time_tag(instant: datetime, show: str = "") -> SafeString:
    """`instant` as `<time>`; `show`, one of our own words, is how the browser says it: "" is an age (12 s ago), else
    "lately" (one of at least 10 s, before that: now), "clock" or "full".

    What stands in it until then is UTC and the same for everyone, so that a fragment may be sent to many.
    """
    stamp = iso(instant)
    how = f' data-show="{show}"' if show else ""
    return SafeString(f'<time datetime="{stamp}"{how}>{stamp[:10]} {stamp[11:19]} UTC</time>')
