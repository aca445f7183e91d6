"""Quantities as Kubernetes writes them: "250m", "128Mi", "1e3", "12E"; exactly."""

from __future__ import annotations

import re
from decimal import Decimal
from math import isfinite
from typing import Any

from monitoring.collectors.counters import NAN
from monitoring.collectors.shape import Shape, at

_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
# "12E" is twelve exa and "12E3" has an exponent: a suffix ends the text.
_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40}))"
    r"(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,3}))?"
)


def quantity(text: str) -> Decimal:
    """What `text` stands for. Raises ValueError when that is nothing."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no quantity")
    number, suffix = Decimal(match["number"]), match["suffix"] or ""
    if suffix in _BINARY:
        return number * Decimal(2 ** _BINARY[suffix])
    return number.scaleb(_DECIMAL[suffix] + int(match["exponent"] or 0))


def amount(shape: Shape, *path: str) -> float:
    """The quantity at that place, as text or as a number; NaN when there is none."""
    found: Any = at(shape, *path)
    if isinstance(found, str):
        try:
            value = float(quantity(found))
        except (ValueError, OverflowError):
            return NAN
        return value if isfinite(value) else NAN
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else NAN
