"""A tiny line drawn on the server: a few hundred bytes of SVG that need no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from django.utils.safestring import SafeString

HEIGHT = 40

_STEPS = {down: f"1 {down}" for down in range(-HEIGHT, HEIGHT + 1)}
"""One place to the right, and so far down: nearly all that a line is made of."""


def sparkline(values: Sequence[float | None], top: float = 100.0, bridged: int = 0) -> SafeString:
    """`values` from 0 to `top`, oldest first, as the inside of an `<svg viewBox="0 0 {len - 1} 40">`.

    None is a gap: the line and the area under it break there, unless it is at most `bridged` places long. A value alone
    between two gaps is a dot.
    """
    areas, lines = [], []
    places: Sequence[int] = range(len(values))
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        places = [place for place, value in enumerate(values) if value is not None]
    step = HEIGHT / top
    heights = [HEIGHT if v < 0 else 0 if v > top else int(HEIGHT + 0.5 - v * step) for v in known]
    for first, last in _runs(places, bridged):
        moves = _moves(places[first : last + 1], heights[first : last + 1])
        line = f"l{moves}" if moves else "h.1"
        lines.append(f"M{places[first]} {heights[first]}{line}")
        if last > first:
            areas.append(f"M{places[first]} {HEIGHT}V{heights[first]}{line}V{HEIGHT}z")
    return SafeString(f'<path class="area" d="{"".join(areas)}"/><path class="line" d="{"".join(lines)}"/>')


def _runs(places: Sequence[int], bridged: int) -> Iterator[tuple[int, int]]:
    """First and last (both are indexes) of the places of each stretch without a gap."""
    if places and len(places) == places[-1] - places[0] + 1:
        yield 0, len(places) - 1
    elif places:
        begins = [index for index, (before, after) in enumerate(pairwise(places), 1) if after - before > bridged + 1]
        for first, end in pairwise([0, *begins, len(places)]):
            yield first, end - 1


def _moves(places: Sequence[int], heights: Sequence[int]) -> str:
    if len(places) == places[-1] - places[0] + 1:
        return " ".join([_STEPS[after - before] for before, after in pairwise(heights)])
    moves = zip(pairwise(places), pairwise(heights), strict=True)
    return " ".join([f"{right - left} {after - before}" for (left, right), (before, after) in moves])
