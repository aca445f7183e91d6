"""How many lines there were and when: bars for the page, from the counts that are kept per minute."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from monitoring.log_filter import LogFilter
from monitoring.logs.counts import Histogram, histogram, totals
from monitoring.logs.line import Level
from monitoring.queries.log_rows import Place
from monitoring.span import Span
from portal.toolkit.instants import at_ms, from_ms, time_tag

BARS = 60
HEIGHT, WIDTH = 100, 10
"""Of the drawing and of a bar in it, in units that the page stretches."""
LEAST = 3
"""One line among a thousand is seen."""
USUAL = Span(range="1h")
"""What is counted when nothing is said about time."""
ORDER = (Level.ERROR, Level.WARNING, Level.INFO, Level.DEBUG)
"""From the ground up: what matters stands where it can be compared."""


@dataclass(frozen=True, slots=True)
class Part:
    """Of a bar, in units of the drawing, from the top down."""

    level: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """Epoch ms: start <= instant < end. `counts` are of debug, info, warning, error, with commas."""

    x: int
    start_ms: int
    end_ms: int
    counts: str
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class LevelCount:
    """`address` shows this level too, or no more; `count` is None before it is known."""

    level: Level
    address: str
    is_on: bool
    count: int | None


@dataclass(frozen=True, slots=True)
class LogChart:
    bars: list[Bar]
    width: int
    most: int
    total: int
    start: SafeString
    end: SafeString
    step_ms: int
    says: str
    is_without_words: bool


def level_counts(wanted: LogFilter, servers: frozenset[int], now: datetime) -> list[LevelCount]:
    """Of all levels, whichever are shown. One look at the counts."""
    start_ms, end_ms = counted_bounds(wanted, now)
    ask = replace(wanted, levels=frozenset()).ask(now)
    return levels(wanted, totals(ask, servers=servers, start_ms=start_ms, end_ms=end_ms))


def levels(wanted: LogFilter, counts: dict[Level, int] | None = None) -> list[LevelCount]:
    """A choice of levels, with their counts when they are known."""
    return [
        LevelCount(
            level,
            Place(replace(wanted, levels=wanted.levels ^ {level})).page(),
            level in wanted.levels,
            counts.get(level, 0) if counts is not None else None,
        )
        for level in reversed(Level)
    ]


def log_chart(wanted: LogFilter, servers: frozenset[int], now: datetime) -> LogChart:
    """Of the levels that are shown; what is searched for is not counted."""
    start_ms, end_ms = counted_bounds(wanted, now)
    found = histogram(wanted.ask(now), servers=servers, start_ms=start_ms, end_ms=end_ms, buckets=BARS)
    return _drawn(found, is_without_words=bool(wanted.words))


def says_counted(wanted: LogFilter) -> str:
    """Which time the counts are of, when the page's filter does not say it."""
    return "" if wanted.span.range else _("the last hour")


def counted_bounds(wanted: LogFilter, now: datetime) -> tuple[int, int]:
    """Epoch ms: start <= instant < end of what is counted: at most 30 days where no start is said."""
    start, end = (wanted.span if wanted.span.range else USUAL).bounds(now)
    end = min(end or now, now)
    start = start or end - timedelta(days=30)
    return at_ms(min(start, end - timedelta(minutes=1))), at_ms(end)


def _drawn(found: Histogram, *, is_without_words: bool) -> LogChart:
    columns = [[counts[place] for counts in _series(found)] for place in range(_length(found))]
    most = max((sum(column) for column in columns), default=0)
    total = sum(map(sum, columns))
    end_ms = found.start_ms + len(columns) * found.step_ms
    return LogChart(
        bars=[_bar(place, column, most, found) for place, column in enumerate(columns)],
        width=len(columns) * WIDTH,
        most=most,
        total=total,
        start=time_tag(from_ms(found.start_ms), "clock"),
        end=time_tag(from_ms(end_ms), "clock"),
        step_ms=found.step_ms,
        says=_("%(total)s lines, at most %(most)s in one bar") % {"total": f"{total:,}", "most": f"{most:,}"},
        is_without_words=is_without_words,
    )


def _series(found: Histogram) -> Iterable[list[int]]:
    """In the order of Level; a level that has none may be missing."""
    return [found.per_level.get(level) or [0] * _length(found) for level in Level]


def _length(found: Histogram) -> int:
    return max((len(counts) for counts in found.per_level.values()), default=0)


def _bar(place: int, counts: list[int], most: int, found: Histogram) -> Bar:
    start_ms = found.start_ms + place * found.step_ms
    return Bar(
        x=place * WIDTH,
        start_ms=start_ms,
        end_ms=start_ms + found.step_ms,
        counts=",".join(map(str, counts)),
        parts=_parts(counts, most),
    )


def _parts(counts: list[int], most: int) -> list[Part]:
    parts, top = [], float(HEIGHT)
    for level in ORDER:
        if counts[level]:
            height = min(top, max(LEAST, round(counts[level] / most * HEIGHT, 1)))
            top -= height
            parts.append(Part(level.word, round(top, 1), height))
    return parts
