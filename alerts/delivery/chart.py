"""The picture in a mail: an hour of one series with its limit. Shapes only: words and numbers stay in the mail's text,
where every language, time zone and screen reader finds them, and no font is needed to draw it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import ceil, floor, isfinite, log10, nan

import numpy as np
import resvg_py
from numpy.typing import NDArray

from alerts.models import Level
from monitoring.queries.samples import Tracks
from portal.toolkit.instants import at_ms, from_ms

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

WIDTH, HEIGHT = 560, 140
COLUMNS = 140
EDGE = 6
# Seen on white and on a dark page alike: at least 3:1 on both, as the picture lets the page shine through.
LINE, GRID, BEGIN = "#3b82f6", "#8b95a5", "#7d8794"
LEVELS: dict[str, str] = {Level.CRITICAL: "#e5484d", Level.WARNING: "#c77d00", Level.INFO: "#7d8794"}
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)
Point = tuple[int, float]
"""Epoch ms and value."""


@dataclass(frozen=True, slots=True)
class Chart:
    """`png` shows the values from `bottom` to `top`, and the time from `start` to `end`; `lowest` and `highest` are
    those of the samples in it, `newest` is the last."""

    png: bytes
    bottom: float
    top: float
    lowest: float
    highest: float
    newest: float
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be seen: `began` is where it began, `mark` the value that the mail tells of."""

    start: datetime
    end: datetime
    unit: str
    level: str
    limit: float | None
    began: datetime
    mark: tuple[datetime, float] | None


def draw(tracks: Tracks, wanted: Wanted) -> Chart | None:
    """The first series of `tracks` as a PNG of WIDTH x HEIGHT; None without any value. About 7 ms."""
    numbers = tracks.values[0]
    known = numbers[np.isfinite(numbers)]
    if not len(known):
        return None
    bottom, top = scale(_shown(known, wanted), wanted.unit)
    kept = thinned(tracks.at_ms, numbers)
    points = list(zip(tracks.at_ms[kept].tolist(), numbers[kept].tolist(), strict=True))
    png = resvg_py.svg_to_bytes(svg_string=svg(points, wanted, bottom, top), skip_system_fonts=True)
    lowest, highest, newest = float(known.min()), float(known.max()), float(known[-1])
    return Chart(bytes(png), bottom, top, lowest, highest, newest, wanted.start, wanted.end)


def thinned(at: Ints, numbers: Floats) -> Ints:
    """The places of what a picture can show: of each of COLUMNS columns the lowest and the highest, and every gap.

    There must be a value."""
    if len(at) <= 2 * COLUMNS:
        return np.arange(len(at))
    known = np.flatnonzero(np.isfinite(numbers))
    column = (at[known] - at[0]) * COLUMNS // max(int(at[-1] - at[0]), 1)
    order = np.lexsort((numbers[known], column))
    edges = np.flatnonzero(np.diff(column[order]))
    ends = np.concatenate([[0], edges, edges + 1, [len(order) - 1]])
    return np.unique(np.concatenate([known[order[ends]], np.flatnonzero(np.isnan(numbers))]))


def _shown(known: Floats, wanted: Wanted) -> list[float]:
    also = [wanted.limit, wanted.mark[1] if wanted.mark else None]
    return [float(known.min()), float(known.max()), *(one for one in also if one is not None and isfinite(one))]


def scale(values: list[float], unit: str) -> tuple[float, float]:
    """A round bottom and top around `values`; from 0 where that wastes no more than half of the height."""
    low, high = min(values), max(values)
    if low >= 0 and low <= high / 2:
        low = 0.0
    if unit == "%" and low >= 0 and 50 < high <= 100:
        return (0.0 if low < 75 else floor(low / 5) * 5.0), 100.0
    step = _nice((high - low) / 5 or abs(high) / 5 or 1.0)
    bottom, top = floor(low / step) * step, ceil(high / step) * step
    return (bottom, top) if top > bottom else (bottom, bottom + step)


def _nice(size: float) -> float:
    power: float = 10.0 ** floor(log10(size))
    return next(nice for nice in NICE if nice * power >= size * 0.999) * power


def svg(points: list[Point], wanted: Wanted, bottom: float, top: float) -> str:
    """NaN is a gap; a value alone between two gaps is a dot."""
    frame = _Frame(at_ms(wanted.start) or 0, at_ms(wanted.end) or 0, bottom, top)
    colour = LEVELS.get(wanted.level, GRID)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
        + "".join(_background(frame, wanted, colour))
        + f'<path d="{"".join(_line(frame, points))}" fill="none" stroke="{LINE}" stroke-width="2" '
        'stroke-linejoin="round" stroke-linecap="round"/>' + "".join(_mark(frame, wanted, colour)) + "</svg>"
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    start_ms: int
    end_ms: int
    bottom: float
    top: float

    def x(self, ms: int) -> float:
        share = (ms - self.start_ms) / max(self.end_ms - self.start_ms, 1)
        return round(EDGE + min(max(share, 0.0), 1.0) * (WIDTH - 2 * EDGE), 1)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / (self.top - self.bottom)
        return round(HEIGHT - EDGE - min(max(share, 0.0), 1.0) * (HEIGHT - 2 * EDGE), 1)


def _background(frame: _Frame, wanted: Wanted, colour: str) -> Iterator[str]:
    """The time since it began, the edges, and the limit."""
    left, right = frame.x(at_ms(wanted.began) or 0), frame.x(frame.end_ms)
    low, high = HEIGHT - EDGE, EDGE
    yield f'<path d="M{left} {high}H{right}V{low}H{left}z" fill="{colour}" fill-opacity=".13"/>'
    for edge in (low, high):
        yield f'<path d="M{EDGE} {edge}H{WIDTH - EDGE}" stroke="{GRID}" stroke-opacity=".55"/>'
    if frame.start_ms <= (at_ms(wanted.began) or 0) <= frame.end_ms:
        yield f'<path d="M{left} {high}V{low}" stroke="{BEGIN}" stroke-width="1.5" stroke-dasharray="2 3"/>'
    if wanted.limit is not None and isfinite(wanted.limit):
        y = frame.y(wanted.limit)
        yield f'<path d="M{EDGE} {y}H{WIDTH - EDGE}" stroke="{colour}" stroke-width="2" stroke-dasharray="8 5"/>'


def _line(frame: _Frame, points: list[Point]) -> Iterator[str]:
    gap: Point = (0, nan)
    for before, (ms, value) in pairwise([gap, *points]):
        if isfinite(value):
            move = "L" if isfinite(before[1]) else "M"
            yield f"{move}{frame.x(ms)} {frame.y(value)}" + ("h.1" if move == "M" else "")


def _mark(frame: _Frame, wanted: Wanted, colour: str) -> Iterator[str]:
    if wanted.mark is not None and isfinite(wanted.mark[1]):
        x, y = frame.x(at_ms(wanted.mark[0]) or 0), frame.y(wanted.mark[1])
        yield f'<circle cx="{x}" cy="{y}" r="5" fill="{colour}" stroke="#fff" stroke-width="1.5"/>'


def worst(tracks: Tracks, began: datetime, *, below: bool) -> tuple[datetime, float] | None:
    """The first worst sample since `began`."""
    since = (tracks.at_ms >= (at_ms(began) or 0)) & np.isfinite(tracks.values[0])
    if not since.any():
        return None
    numbers = np.where(since, tracks.values[0], np.inf if below else -np.inf)
    index = int(numbers.argmin() if below else numbers.argmax())
    return from_ms(int(tracks.at_ms[index])), float(numbers[index])
