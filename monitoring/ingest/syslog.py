"""What a message of syslog says: RFC 5424, RFC 3164, and what devices make of them. Nothing is refused here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, NamedTuple

from monitoring.logs.levels import level_in, level_of_priority
from monitoring.logs.line import Level

USER_NOTICE = 13
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock", *(f"local{number}" for number in range(8))),
)
MOST_PARAMETERS = 200
SECOND_NS = 1_000_000_000
SENDERS_KEPT = 50_000

_PRIORITY = re.compile(r"<(\d{1,3})>")
_ISO = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"
_HEAD_5424 = re.compile(rf"1 (-|{_ISO}) (\S{{1,255}}) (\S{{1,48}}) (\S{{1,128}}) (\S{{1,32}}) ?", re.I)
_PARAMETER = re.compile(r' +([^\s="\]]{1,100})="((?:[^"\\\]]|\\.)*)"', re.S)
_ELEMENT = re.compile(r'\[([^\s="\]]{1,100})')
_ESCAPED = re.compile(r'\\(["\\\]])')
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# Nov 21 20:00:00, Nov 21 2026 20:00:00.123, *Nov  1 20:00:00.123 UTC:
_STAMP_3164 = re.compile(
    r"[*.]?([A-Z][a-z]{2}) {1,2}(\d{1,2}) (?:(\d{4}) )?(\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(?: ([A-Z]{3,4}))?:? "
)
_STAMP_ISO = re.compile(rf"({_ISO}) ")
_NUMBERED = re.compile(r"\d{1,10}: ")  # Cisco counts its messages
_HOST = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}) (?=\S)")
_TAG = re.compile(r"([^\s:\[\]]{1,100})(?:\[([^\]\s]{1,50})\])?: ?")


class Said(NamedTuple):
    """`host` and `source` are "" when the message names none; `at` is aware, or naive when it has no zone, or None.

    `is_coarse`: its clock shows seconds, so that lines that follow each other may look the same.
    """

    at: datetime | None
    extra_ns: int
    is_coarse: bool
    host: str
    source: str
    level: Level
    fields: Mapping[str, str]
    text: str


def parse(message: str, now: datetime) -> Said:
    """`now` tells the year where the message does not."""
    found = _PRIORITY.match(message)
    priority = int(found[1]) if found and int(found[1]) < 192 else None
    rest = message[found.end() :] if found and priority is not None else message
    head = _HEAD_5424.match(rest) if priority is not None else None
    if head and (said := _rfc_5424(head, rest[head.end() :], priority or 0)):
        return said
    return _rfc_3164(rest, priority, now)


def instant_ns(at: datetime) -> int:
    """Epoch nanoseconds of an aware instant."""
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1000


# --- RFC 5424 ---------------------------------------------------------------------------------------------------------
def _rfc_5424(head: re.Match[str], rest: str, priority: int) -> Said | None:
    stamp, host, source, process, message_id = ("" if part == "-" else part for part in head.groups())
    at, extra_ns = _iso(stamp) if stamp else (None, 0)
    if stamp and at is None:
        return None
    fields = _fields(priority, process)
    if message_id:
        fields["msgid"] = message_id
    data, text = _structured(rest)
    text = text.removeprefix("\ufeff")
    if text.startswith(" ") and not text.startswith("  "):  # rsyslog puts two before the text
        text = text[1:]
    return Said(at, extra_ns, False, host, source, level_of_priority(priority), fields | data, text)


def _structured(rest: str) -> tuple[dict[str, str], str]:
    """The structured data and what follows it. What is written wrongly is text."""
    if rest.startswith("-"):
        return {}, rest[1:].removeprefix(" ")
    data: dict[str, str] = {}
    place = 0
    while element := _ELEMENT.match(rest, place):
        identity, at = element[1], element.end()
        while found := _PARAMETER.match(rest, at):
            if len(data) < MOST_PARAMETERS:
                name = found[1] if found[1] not in data else f"{identity}.{found[1]}"
                data[name] = _ESCAPED.sub(r"\1", found[2])
            at = found.end()
        if rest[at : at + 1] != "]":
            break
        place = at + 1
    return data, rest[place:].removeprefix(" ")


def _iso(stamp: str) -> tuple[datetime | None, int]:
    """The instant up to microseconds, and the nanoseconds beyond; datetime knows no leap second."""
    whole, dot, fraction = stamp.replace(",", ".").partition(".")
    digits = re.match(r"\d*", fraction)
    assert digits is not None
    zone = fraction[digits.end() :]
    nanoseconds = int(digits[0].ljust(9, "0")) if dot else 0
    try:
        at = datetime.fromisoformat(f"{whole}{zone}".upper().replace(":60", ":59"))
    except ValueError:
        return None, 0
    return at.replace(microsecond=nanoseconds // 1000), nanoseconds % 1000


# --- RFC 3164 ---------------------------------------------------------------------------------------------------------
def _rfc_3164(rest: str, priority: int | None, now: datetime) -> Said:
    if numbered := _NUMBERED.match(rest):
        rest = rest[numbered.end() :]
    at, extra_ns, is_coarse, rest, is_stamped = _stamp(rest, now)
    host = source = process = ""
    if is_stamped:
        named = _HOST.match(rest)
        if named and not named[1].endswith(":"):
            host, rest = named[1], rest[named.end() :]
    if tag := _TAG.match(rest):
        source, process, rest = tag[1], tag[2] or "", rest[tag.end() :]
    level = level_of_priority(priority) if priority is not None else level_in(rest)
    fields = _fields(USER_NOTICE if priority is None else priority, process)
    return Said(at, extra_ns, is_coarse, host, source, Level.INFO if level is None else level, fields, rest)


def _stamp(rest: str, now: datetime) -> tuple[datetime | None, int, bool, str, bool]:
    """The instant, nanoseconds beyond it, whether it is of seconds only, what follows, and whether there was one."""
    if found := _STAMP_ISO.match(rest):
        at, extra_ns = _iso(found[1])
        return at, extra_ns, "." not in found[1], rest[found.end() :], at is not None
    found = _STAMP_3164.match(rest)
    if not found or found[1].lower() not in _MONTHS:
        return None, 0, True, rest, False
    nanoseconds = int((found[7] or "").ljust(9, "0"))
    parts = (_MONTHS.index(found[1].lower()) + 1, *(int(found[number]) for number in (2, 4, 5, 6)))
    at = _naive(parts, int(found[3]) if found[3] else None, now)
    if at and found[8] in {"UTC", "GMT"}:
        at = at.replace(tzinfo=UTC)
    stamped = at and at.replace(microsecond=nanoseconds // 1000)
    return stamped, nanoseconds % 1000, not found[7], rest[found.end() :], True


@lru_cache(maxsize=1024)
def _in_year(year: int, month: int, day: int, hour: int, minute: int, second: int) -> datetime | None:
    try:
        return datetime(year, month, day, hour, minute, min(second, 59))  # noqa: DTZ001 (it names no zone)
    except ValueError:
        return None


def _naive(parts: tuple[int, ...], year: int | None, now: datetime) -> datetime | None:
    """In the given year, else in the one that brings it nearest to now."""
    wall = now.replace(tzinfo=None)
    years = [year] if year else [wall.year - 1, wall.year, wall.year + 1]
    possible = [at for each in years if (at := _in_year(each, *parts))]
    return min(possible, key=lambda at: abs(at - wall), default=None)


def _fields(priority: int, process: str) -> dict[str, str]:
    fields = {"facility": FACILITIES[priority >> 3]}
    if process:
        fields["pid"] = process
    return fields


# --- Clocks without a zone --------------------------------------------------------------------------------------------
class Clocks:
    """Instants of senders that tell neither year nor zone, and of those that are plainly wrong.

    `zone` is what their clocks show unless the future says otherwise: nothing comes from there, so a sender that seems
    to be ahead is in another zone, by quarters of an hour, and stays in it.
    """

    MOST_AHEAD = timedelta(minutes=5)
    MOST_BEHIND = timedelta(days=7)
    FARTHEST_ZONE = timedelta(hours=26)
    QUARTER = timedelta(minutes=15)

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone
        self._ahead: dict[str, timedelta] = {}
        self._last: dict[str, tuple[int, int]] = {}

    def instant_ns(self, sender: str, said: Said, now: datetime) -> tuple[int, bool]:
        """When it was, and whether that is what the message says; else it is `now`."""
        at = said.at
        if at is not None and at.tzinfo is None:
            at = self._in_zone(sender, at, now)
        if at is None or not -self.MOST_BEHIND <= at - now <= self.MOST_AHEAD:
            return self._apart(sender, instant_ns(now)), at is None
        at_ns = instant_ns(at) + said.extra_ns
        return (self._apart(sender, at_ns) if said.is_coarse else at_ns), True

    def _in_zone(self, sender: str, at: datetime, now: datetime) -> datetime:
        local = at.replace(tzinfo=self._zone).astimezone(UTC)
        ahead = local - now
        if abs(ahead) <= self.MOST_AHEAD:
            self._ahead.pop(sender, None)
        elif self.MOST_AHEAD < ahead <= self.FARTHEST_ZONE and sender not in self._ahead:
            _keep_small(self._ahead)
            self._ahead[sender] = self.QUARTER * round(ahead / self.QUARTER)
        return local - self._ahead.get(sender, timedelta())

    def _apart(self, sender: str, at_ns: int) -> int:
        """A microsecond after the one before when both are of the same instant: in the order of arrival."""
        last, count = self._last.get(sender, (0, 0))
        count = count + 1 if last == at_ns else 0
        _keep_small(self._last)
        self._last[sender] = (at_ns, count)
        return at_ns + min(count, 999_999) * 1000


def _keep_small(known: dict[str, Any]) -> None:
    if len(known) > SENDERS_KEPT:
        known.clear()
