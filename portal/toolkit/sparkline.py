"""A tiny line drawn on the server: a few hundred bytes of SVG that need no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from django.utils.safestring import SafeString

HEIGHT = 40


def sparkline(values: Sequence[float | None], top: float = 100.0) -> SafeString:
    """`values` from 0 to `top`, oldest first, as the inside of an `<svg viewBox="0 0 {len - 1} 40">`.

    None is a gap: the line and the area under it break there. A value alone between two gaps is a dot.
    """
    areas, lines = [], []
    for start, run in _runs(values, top):
        moves = " ".join(f"1 {after - before}" for before, after in pairwise(run))
        line = f"l{moves}" if moves else "h.1"
        lines.append(f"M{start} {run[0]}{line}")
        if moves:
            areas.append(f"M{start} {HEIGHT}V{run[0]}{line}V{HEIGHT}z")
    return SafeString(f'<path class="area" d="{"".join(areas)}"/><path class="line" d="{"".join(lines)}"/>')


def _runs(values: Sequence[float | None], top: float) -> Iterator[tuple[int, list[int]]]:
    """(place of its first value, heights from above) of each stretch without a gap."""
    run: list[int] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            run.append(round(HEIGHT * (1 - min(max(value / top, 0.0), 1.0))))
        elif run:
            yield place - len(run), run
            run = []
