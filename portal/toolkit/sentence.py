"""Sentences that are stored once and read in any language: a message that translations know, and what stands in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

from django.utils.translation import gettext, ngettext

from portal.toolkit.printable import printable
from portal.toolkit.quantity import quantity

_BEGIN = '{"say":'
_CUTS = (300, 150, 75, 35, 15)
"""How long a text in a sentence may be: the first of them with which the sentence fits."""


class Term(str):
    """A word of a sentence that is translated with it."""

    __slots__ = ()


class Inner(str):
    """A stored sentence that is part of another one."""

    __slots__ = ()


class Quantity(NamedTuple):
    """A number of a sentence, shown with its unit."""

    value: float
    unit: str


Part = str | Term | Inner | Quantity


def sentence(message: str, /, **parts: Part) -> str:
    """`message`, an English msgid with %(name)s places, and its parts, as text for one column.

    A message without parts is stored as it is.
    """
    if not parts:
        return message
    return _dump({"say": message, "with": _kept_all(parts)})


def counted(one: str, many: str, count: int, /, **parts: Part) -> str:
    """A sentence about `count` things, `one` or `many` of them; %(count)d is how many."""
    return _dump({"say": one, "many": many, "count": count, "with": _kept_all(parts)})


def paragraph(sentences: Iterable[str]) -> str:
    """Stored sentences as one, one after the other; those that say nothing are left out."""
    said = [each for each in sentences if each]
    if len(said) < 2:
        return "".join(said)
    parts = {f"s{number}": Inner(each) for number, each in enumerate(said)}
    return sentence(" ".join(f"%({name})s" for name in parts), **parts)


def say(stored: str) -> str:
    """A stored sentence in the active language; what `sentence` did not make is taken for a message itself."""
    if not stored.startswith(_BEGIN):
        return gettext(stored) if stored else ""
    return _put(json.loads(stored))


def fitted(stored: str, most: int) -> str:
    """The stored sentence in at most `most` characters (100 or more): its texts are cut and made printable.

    A sentence that is too long even so is kept as the text that it is in the active language, cut.
    """
    if not stored.startswith(_BEGIN):
        return printable(stored, most)
    kept = json.loads(stored)
    for length in _CUTS:
        shorter = _dump(_cut(kept, length))
        if len(shorter) <= most:
            return shorter
    # Quotes and backslashes take two characters each.
    return sentence("%(text)s", text=printable(_put(_cut(kept, _CUTS[-1])), (most - 50) // 2))


class SaidError(Exception):
    """What went wrong, as a sentence: `stored` is for a column, str() says it in the active language.

    Texts among the parts may be a stranger's: they are made printable and cut. `message` may be a stored sentence.
    """

    MOST = 2000
    """Characters of `stored`."""

    def __init__(self, message: str, /, **parts: Part) -> None:
        self.stored = fitted(sentence(message, **parts), self.MOST)
        super().__init__(self.stored)

    @classmethod
    def of(cls, error: SaidError) -> Self:
        """Another kind of error that says the same."""
        return cls(error.stored)

    def __str__(self) -> str:
        return say(self.stored)


# --- Within a sentence ------------------------------------------------------------------------------------------------
def _dump(kept: dict[str, Any]) -> str:
    return json.dumps(kept, ensure_ascii=False)


def _kept_all(parts: dict[str, Part]) -> dict[str, Any]:
    return {name: _kept(part) for name, part in parts.items()}


def _kept(part: Part) -> Any:
    if isinstance(part, Term):
        return {"term": str(part)}
    if isinstance(part, Inner):
        return json.loads(part) if part.startswith(_BEGIN) else {"say": str(part), "with": {}}
    if isinstance(part, Quantity):
        return {"number": part.value, "unit": part.unit}
    return part


def _cut(kept: Any, length: int) -> Any:
    if isinstance(kept, str):
        return printable(kept, length)
    if "term" in kept:
        return {"term": printable(kept["term"], length)}
    if "say" in kept:
        return {**kept, "with": {name: _cut(part, length) for name, part in kept["with"].items()}}
    return kept


def _put(kept: Any) -> str:
    """A sentence in the active language, its parts in their places; one without parts has none, whatever it holds."""
    parts = {name: _said(part) for name, part in kept["with"].items()}
    if "many" in kept:
        said: str = ngettext(kept["say"], kept["many"], kept["count"])
        return said % {"count": kept["count"], **parts}
    return gettext(kept["say"]) % parts if parts else gettext(kept["say"])


def _said(part: Any) -> str:
    if isinstance(part, str):
        return part
    if "say" in part:
        return _put(part)
    return gettext(part["term"]) if "term" in part else quantity(part["number"], part["unit"])
