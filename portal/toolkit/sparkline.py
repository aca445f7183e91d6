"""Tiny lines drawn on the server: a few hundred bytes of SVG each that need no script."""

from __future__ import annotations

from functools import cache

import numpy as np
from django.utils.safestring import SafeString
from numpy.typing import NDArray

HEIGHT = 40

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def sparklines(values: Floats, top: float = 100.0, bridged: Ints | int = 0) -> list[SafeString]:
    """Each row of `values` (lines × places), from 0 to `top` and oldest first, as the inside of an
    `<svg viewBox="0 0 {places - 1} 40">`.

    NaN is a gap: the line and the area under it break there, unless it is at most `bridged` (for all or for each line)
    places long. A value alone between two gaps is a dot. All lines are worked out at once: a screen of them is drawn
    every second.
    """
    rows, places = np.nonzero(~np.isnan(values))
    heights = (HEIGHT + 0.5 - np.clip(values[rows, places], 0, top) * (HEIGHT / top)).astype(np.int64)
    rights, downs = np.diff(places), np.diff(heights)
    most = np.broadcast_to(np.asarray(bridged), len(values))[rows[1:]] + 1
    is_break = (np.diff(rows) != 0) | (rights > most)
    text, ends = _moves(np.where(is_break, 0, rights), downs, values.shape[1])

    lines: list[list[str]] = [[] for _ in range(len(values))]
    areas: list[list[str]] = [[] for _ in range(len(values))]
    breaks = np.flatnonzero(is_break)
    firsts = np.append(0, breaks + 1)[: len(rows)]
    lasts = np.append(breaks, len(rows) - 1)[: len(rows)]
    stretches = (rows[firsts], places[firsts], heights[firsts], ends[firsts], ends[lasts])
    for row, place, height, start, end in zip(*(column.tolist() for column in stretches), strict=True):
        if start == end:
            lines[row].append(f"M{place} {height}h.1")
            continue
        line = f"l{text[start + 1 : end]}"
        lines[row].append(f"M{place} {height}{line}")
        areas[row].append(f"M{place} {HEIGHT}V{height}{line}V{HEIGHT}z")
    return [
        SafeString(f'<path class="area" d="{"".join(area)}"/><path class="line" d="{"".join(line)}"/>')
        for area, line in zip(areas, lines, strict=True)
    ]


def _moves(rights: Ints, downs: Ints, places: int) -> tuple[str, Ints]:
    """All steps as one text, each " right down", nothing for those of 0 to the right; and where in it step n begins,
    with the end of the text as the last."""
    letters, lengths = _steps(places)
    chosen = rights * (2 * HEIGHT + 1) + downs + HEIGHT
    written = letters[chosen]
    return written[written != 0].tobytes().decode("ascii"), np.append(0, np.cumsum(lengths[chosen]))


@cache
def _steps(places: int) -> tuple[NDArray[np.uint8], Ints]:
    """Every step there is, as letters with zeros behind them, and how many letters that is."""
    texts = [f" {right} {down}" if right else "" for right in range(places) for down in range(-HEIGHT, HEIGHT + 1)]
    table = np.array(texts, np.bytes_)
    return table.view(np.uint8).reshape(len(texts), -1), np.array([len(text) for text in texts])
