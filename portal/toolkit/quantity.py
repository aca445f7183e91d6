"""Numbers with their unit, as people read them. static/js/quantity.js says the same of the points of a chart."""

from __future__ import annotations

import math

from django.utils.translation import gettext as _

NOTHING = "–"
# A unit that grows takes the next name from a thousand on. Network rates and memory are counted in 1,024s.
LADDERS = {"KB/s": ("KB/s", "MB/s", "GB/s", "TB/s"), "MB": ("MB", "GB", "TB", "PB")}


def digits(value: float) -> str:
    """About three significant digits, thousands apart: 0.42, 9.5, 78, 1,234."""
    size = abs(value)
    if size >= 99.95 or value == 0 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 0.995 else f"{value:.2f}"


def quantity(value: float | None, unit: str) -> str:
    """`value` with `unit` in the active language; a dash when there is no finite value."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if unit == "%":
        return f"{value:.1f}%" if value < 99.95 else f"{value:.0f}%"
    if unit == "s" and value >= 120:
        return duration(value)
    if unit == "ms" and value >= 1000:
        value, unit = value / 1000, "s"
    ladder = LADDERS.get(unit, (unit,))
    step = 0
    while abs(value) >= 999.5 and step < len(ladder) - 1:
        value, step = value / 1024, step + 1
    if unit.startswith("1/"):
        return f"{digits(value)}{unit[1:]}"
    return f"{digits(value)} {ladder[step]}".rstrip()


def duration(seconds: float) -> str:
    """The two largest parts of a time, the second only if there is any: 3 min 20 s, 4 h 12 min, 12 d."""
    whole = int(seconds)
    days, hours, minutes, left = whole // 86_400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    parts = [
        _("%(days)d d") % {"days": days} if days else "",
        _("%(hours)d h") % {"hours": hours} if hours else "",
        _("%(minutes)d min") % {"minutes": minutes} if minutes else "",
        _("%(seconds)d s") % {"seconds": left} if left or not whole else "",
    ]
    first = next(place for place, part in enumerate(parts) if part)
    return " ".join(part for part in parts[first : first + 2] if part)
