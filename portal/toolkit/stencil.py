"""A template that is rendered once with holes in it and filled many times: for fragments that change every second."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

from django.template.loader import render_to_string

_HOLE = re.compile("\ue000([0-9]+)\ue001")
_SEPARATOR = "\x1f"
_KEPT = 1_000

Given = tuple[bool, ...]
"""Which of some fields are not empty."""
Chosen = Callable[[Sequence[str]], tuple[str, ...]]


class Stencil:
    """Gives what `render_to_string(template, …)` gives, in a tenth of the time.

    The template may do two things with a field, both as a string: show it, and test whether it is empty. For each set
    of empty fields it is rendered once by Django, so it stays the only place where the HTML is written.
    """

    def __init__(self, template: str, fields: Sequence[str], safe: Sequence[str] = ()) -> None:
        """The fields as the template names them ("card.name"); `safe` are those that hold HTML."""
        self._template = template
        self._fields = (*fields, *safe)
        self.outline = lru_cache(_KEPT)(self._outline)

    def begun(self, values: Sequence[str] = (), safe: Sequence[str] = ()) -> Begun:
        """With the first fields and the first safe ones filled in: what stays as it is while the rest changes."""
        return Begun(self, values, safe)

    def _outline(self, *given: Given) -> tuple[list[str], Chosen]:
        """Texts with room between them, and what takes the values of all fields for these rooms."""
        names = zip(self._fields, chain(*given), strict=True)
        context = _nested({name: f"\ue000{hole}\ue001" * is_given for hole, (name, is_given) in enumerate(names)})
        parts = _HOLE.split(render_to_string(self._template, context))
        holes = [int(hole) for hole in parts[1::2]]
        chosen = itemgetter(*holes) if len(holes) > 1 else lambda texts: tuple(texts[hole] for hole in holes)
        return parts, chosen


class Begun:
    """A stencil with some fields filled in: they are escaped, and looked at, only once."""

    __slots__ = ("_given", "_safe", "_safe_given", "_stencil", "_values")

    def __init__(self, stencil: Stencil, values: Sequence[str], safe: Sequence[str]) -> None:
        self._stencil = stencil
        self._values, self._safe = tuple(map(html.escape, values)), safe
        self._given, self._safe_given = tuple(map(bool, values)), tuple(map(bool, safe))

    def filled(self, values: Sequence[str], safe: Sequence[str] = ()) -> str:
        """The HTML with one value for each field that is left."""
        given, safe_given = tuple(map(bool, values)), tuple(map(bool, safe))
        texts, chosen = self._stencil.outline(self._given, given, self._safe_given, safe_given)
        parts = texts.copy()
        parts[1::2] = chosen((*self._values, *_escaped(values), *self._safe, *safe))
        return "".join(parts)


def _escaped(values: Sequence[str]) -> Sequence[str]:
    """All in one go where that can be told apart again: most of the time would go into calls."""
    escaped = html.escape(_SEPARATOR.join(values)).split(_SEPARATOR)
    return escaped if len(escaped) == len(values) else [html.escape(value) for value in values]


def _nested(fields: Mapping[str, str]) -> dict[str, Any]:
    """{"a.b": "c"} as {"a": {"b": "c"}}"""
    context: dict[str, Any] = {}
    for name, value in fields.items():
        *path, last = name.split(".")
        place = context
        for step in path:
            place = place.setdefault(step, {})
        place[last] = value
    return context
