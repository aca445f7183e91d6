"""Sentences that are stored once and read in any language: a message that translations know, and what stands in it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from django.utils.translation import gettext

from portal.toolkit.quantity import quantity


class Term(str):
    """A word of a sentence that is translated with it."""

    __slots__ = ()


class Quantity(NamedTuple):
    """A number of a sentence, shown with its unit."""

    value: float
    unit: str


Part = str | Term | Quantity


def sentence(message: str, **parts: Part) -> str:
    """`message`, an English msgid with %(name)s places, and its parts, as text for one column.

    A message without parts is stored as it is.
    """
    if not parts:
        return message
    return json.dumps({"say": message, "with": {name: _kept(part) for name, part in parts.items()}}, ensure_ascii=False)


def say(stored: str) -> str:
    """A stored sentence in the active language; what `sentence` did not make is taken for a message itself."""
    if not stored.startswith('{"say":'):
        return gettext(stored) if stored else ""
    kept = json.loads(stored)
    return gettext(kept["say"]) % {name: _said(part) for name, part in kept["with"].items()}


def _kept(part: Part) -> Any:
    if isinstance(part, Term):
        return {"term": str(part)}
    if isinstance(part, Quantity):
        return {"number": part.value, "unit": part.unit}
    return part


def _said(part: Any) -> str:
    if isinstance(part, str):
        return part
    return gettext(part["term"]) if "term" in part else quantity(part["number"], part["unit"])
