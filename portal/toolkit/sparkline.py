"""A tiny line drawn on the server: a few hundred bytes of SVG that need no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from django.utils.safestring import SafeString

HEIGHT = 40


def sparkline(values: Sequence[float | None], top: float = 100.0, bridged: int = 0) -> SafeString:
    """`values` from 0 to `top`, oldest first, as the inside of an `<svg viewBox="0 0 {len - 1} 40">`.

    None is a gap: the line and the area under it break there, unless it is at most `bridged` places long. A value alone
    between two gaps is a dot.
    """
    areas, lines = [], []
    for run in _runs(values, top, bridged):
        (start, first), (end, _last) = run[0], run[-1]
        moves = " ".join(f"{after[0] - before[0]} {after[1] - before[1]}" for before, after in pairwise(run))
        line = f"l{moves}" if moves else "h.1"
        lines.append(f"M{start} {first}{line}")
        if end > start:
            areas.append(f"M{start} {HEIGHT}V{first}{line}V{HEIGHT}z")
    return SafeString(f'<path class="area" d="{"".join(areas)}"/><path class="line" d="{"".join(lines)}"/>')


def _runs(values: Sequence[float | None], top: float, bridged: int) -> Iterator[list[tuple[int, int]]]:
    """(place, height from above) of the values of each stretch without a gap."""
    run: list[tuple[int, int]] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        if run and place - run[-1][0] > bridged + 1:
            yield run
            run = []
        run.append((place, round(HEIGHT * (1 - min(max(value / top, 0.0), 1.0)))))
    if run:
        yield run
