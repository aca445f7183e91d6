"""Tiny lines drawn on the server: a few hundred bytes of SVG each that need no script."""

from __future__ import annotations

from functools import cache

import numpy as np
from django.utils.safestring import SafeString
from numpy.typing import NDArray

HEIGHT = 40
_BESIDE = 3
"""So far beyond the picture run the edges that nobody shall see."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sparklines(values: Floats, top: float = 100.0, bridged: Ints | int = 0) -> list[SafeString]:
    """Each row of `values` (lines × places), from 0 to `top` and oldest first, as the inside of an <svg> whose viewBox
    is `view(places)`: one shape, whose outline is the line and whose inside the area under it.

    NaN is a gap: the shape ends there with an edge, unless the gap is at most `bridged` (for all or for each line)
    places long. A value alone between two gaps is an upright line. All are worked out at once: a screen of them is
    drawn every second. Points and no path: a browser looks for the style of a path anew whenever it changes.
    """
    rows, places = np.nonzero(~np.isnan(values))
    heights = (HEIGHT + 0.5 - np.clip(values[rows, places], 0, top) * (HEIGHT / top)).astype(np.int64)
    most = np.broadcast_to(np.asarray(bridged, np.int64), len(values))[rows]
    is_first = (np.diff(rows, prepend=-1) != 0) | (np.diff(places, prepend=0) > most + 1)
    firsts = np.flatnonzero(is_first)
    lasts = np.append(firsts[1:], len(rows))[: len(firsts)] - 1
    text, begins = _points(places, heights)

    end = values.shape[1] - 1
    lefts = np.where(places <= most, -_BESIDE, places)[firsts]
    rights = np.where(end - places <= most, end + _BESIDE, places)[lasts]
    stretches = (rows[firsts], lefts, heights[firsts], begins[firsts], begins[lasts + 1], rights, heights[lasts])
    shapes: list[list[str]] = [[] for _ in range(len(values))]
    floor = HEIGHT + 2 * _BESIDE
    for row, left, first, begin, over, right, last in zip(*(column.tolist() for column in stretches), strict=True):
        shapes[row].append(f"{left} {floor} {left} {first}{text[begin:over]} {right} {last} {right} {floor}")
    return [SafeString(f'<polygon points="{" ".join(shape)}"/>') for shape in shapes]


def view(places: int) -> str:
    """The viewBox: a little more than from 0 to HEIGHT, so that a line at the top or at the bottom is seen whole."""
    return f"0 -2 {max(places - 1, 1)} {HEIGHT + 4}"


def _points(places: Ints, heights: Ints) -> tuple[str, Ints]:
    """All points as one text, each " right down"; and where in it point n begins, with the end of the text as the
    last."""
    letters, lengths = _every_point(int(places.max(initial=0)) + 1)
    chosen = places * (HEIGHT + 1) + heights
    written = letters[chosen]
    return written[written != 0].tobytes().decode("ascii"), np.append(0, np.cumsum(lengths[chosen]))


@cache
def _every_point(places: int) -> tuple[NDArray[np.uint8], Ints]:
    """Every point there is, as letters with zeros behind them, and how many letters that is."""
    texts = [f" {right} {down}" for right in range(places) for down in range(HEIGHT + 1)]
    table = np.array(texts, np.bytes_)
    return table.view(np.uint8).reshape(len(texts), -1), np.array([len(text) for text in texts])
