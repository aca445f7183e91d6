"""What people type to find lines: words, "phrases", beginnings*, -exclusions, field:value, and OR between two of them.

Words match whole words without case, Hangul words whatever begins with them; several words without a space between
them ("10.0.0.7", "/api/orders") are a phrase. All parts have to match. `level:`, `source:` and `server:` are what a
line has besides its text, any other name is a field, or stands before the value in the text. Signs without a word are
ignored: people paste what they saw.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from django.utils.translation import gettext_noop as _

from monitoring.logs.levels import level_named
from monitoring.logs.line import Level
from monitoring.logs.words import HANGUL, OTHER, field_key, folded, is_hangul, level_key, source_key, word_key, words_of
from portal.toolkit.sentence import Part, SaidError

MOST_CHARACTERS = 500
MOST_PARTS = 20
_QUOTES: Final = '"“”'
_FIELD: Final = re.compile(r"([^\W\d][\w.\-]*):(?!//)(?=[^\s:])")
_ALTERNATIVE: Final = "OR"


class QueryError(SaidError):
    """A search that cannot be understood: str() says what and where, `position` is where (characters before it)."""

    def __init__(self, message: str, /, position: int = 0, **parts: Part) -> None:
        super().__init__(message, **parts)
        self.position = position


@dataclass(frozen=True, slots=True)
class LevelTerm:
    level: Level

    @property
    def keys(self) -> tuple[int, ...]:
        return (level_key(self.level),)


@dataclass(frozen=True, slots=True)
class NameTerm:
    """Of a source or a server: the whole name, folded, or what it begins with."""

    of_server: bool
    name: str
    is_prefix: bool

    @property
    def keys(self) -> tuple[int, ...]:
        return () if self.of_server or self.is_prefix else (source_key(self.name),)

    def fits(self, name: str) -> bool:
        said = folded(name)
        return said.startswith(self.name) if self.is_prefix else said == self.name


@dataclass(frozen=True)
class WordsTerm:
    """Words one after the other, folded: in the text or in a field's value; with `field` (folded) in that one alone,
    where no words means that the line has the field."""

    words: tuple[str, ...]
    is_prefix: bool = False
    field: str | None = None

    @cached_property
    def keys(self) -> tuple[int, ...]:
        """Every block with such a line has all of these keys."""
        found = [word_key(word, is_prefix=self._is_open(word)) for word in self.words]
        if self.field is not None:
            found += [field_key(self.field, word) for word in self.words if not self._is_open(word)]
            found += [word_key(word) for word in words_of(self.field) if self.field.isascii()]
        return tuple(dict.fromkeys(key for key in found if key is not None))

    def _is_open(self, word: str) -> bool:
        return self.is_prefix and word == self.words[-1]

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """Finds the words in a folded text."""
        return re.compile(written(self.words, is_prefix=self.is_prefix))

    @cached_property
    def needle(self) -> bytes:
        """A folded text without it has no match: the longest word."""
        return max(self.words, key=len).encode("utf-8", "replace")


Term = LevelTerm | NameTerm | WordsTerm


@dataclass(frozen=True)
class Query:
    """A line fits when one term of each group does, and none of `excluded`."""

    groups: tuple[tuple[Term, ...], ...] = ()
    excluded: tuple[Term, ...] = ()

    @cached_property
    def highlights(self) -> re.Pattern[str] | None:
        """What a page marks in texts without ANSI; None: nothing."""
        terms = {
            (term.words, term.is_prefix)
            for group in self.groups
            for term in group
            if isinstance(term, WordsTerm) and term.field is None
        }
        longest_first = sorted(terms, key=lambda term: (-len(" ".join(term[0])), term))
        wanted = "|".join(written(words, is_prefix=is_prefix) for words, is_prefix in longest_first)
        return re.compile(wanted, re.IGNORECASE) if wanted else None


def written(words: tuple[str, ...], *, is_prefix: bool) -> str:
    """The expression for these words one after the other, as whole words."""
    parts = [rf"(?<![{HANGUL}])" if is_hangul(words[0]) else rf"(?<!{OTHER})"]
    for place, word in enumerate(words):
        if place:
            was_hangul = is_hangul(words[place - 1])
            parts.append(rf"[{HANGUL}]*" if was_hangul else "")
            parts.append(r"\W+" if was_hangul == is_hangul(word) else r"\W*")
        parts.append(re.escape(word))
    if not is_prefix and not is_hangul(words[-1]):
        parts.append(rf"(?!{OTHER})")
    return "".join(parts)


def parse(words: str) -> Query:
    """A search as typed; empty: every line fits. Raises QueryError."""
    if len(words) > MOST_CHARACTERS:
        raise QueryError(
            _("The search is longer than %(most)s characters."), MOST_CHARACTERS, most=str(MOST_CHARACTERS)
        )
    return _Parser(words).parse()


@dataclass
class _Parser:
    said: str
    at: int = 0
    groups: list[list[Term]] = field(default_factory=list)
    excluded: list[Term] = field(default_factory=list)
    or_at: int | None = None
    """Where an OR stands whose right side has not come."""
    may_or: bool = False
    """Whether what came last is something that OR can follow."""

    def parse(self) -> Query:
        while self._space():
            self._part()
            if len(self.groups) + len(self.excluded) > MOST_PARTS:
                raise QueryError(_("More than %(most)s parts are too many."), self.at, most=str(MOST_PARTS))
        if self.or_at is not None:
            raise self._error(_("Character %(place)s: OR stands between two parts, the second is missing."), self.or_at)
        if not self.groups and not self.excluded and self.said.strip():
            raise self._error(_("There is no word in this to look for."), 0)
        return Query(tuple(map(tuple, self.groups)), tuple(self.excluded))

    def _space(self) -> bool:
        """Whether anything comes after the space."""
        self.at = len(self.said) - len(self.said[self.at :].lstrip())
        return self.at < len(self.said)

    def _bare(self) -> str:
        """What stands here up to the next space."""
        return self.said[self.at :].split(None, 1)[0]

    def _part(self) -> None:
        start = self.at
        if self._bare() == _ALTERNATIVE:
            self.at += len(_ALTERNATIVE)
            self._alternative(start)
            return
        is_excluded = self.said[start] == "-" and len(self.said) > start + 1 and not self.said[start + 1].isspace()
        self.at += is_excluded
        terms = self._terms()
        if not terms:
            return
        if is_excluded:
            self._exclude(terms, start)
        elif self.or_at is not None:
            self.groups[-1] += terms
        else:
            self.groups.append(terms)
        self.or_at, self.may_or = None, not is_excluded

    def _alternative(self, start: int) -> None:
        if not self.may_or:
            raise self._error(_("Character %(place)s: OR stands between two parts, the first is missing."), start)
        self.or_at, self.may_or = start, False

    def _exclude(self, terms: list[Term], start: int) -> None:
        if self.or_at is not None:
            raise self._error(_("Character %(place)s: what is excluded cannot stand beside OR."), start)
        self.excluded += terms

    def _terms(self) -> list[Term]:
        """What stands here, one of them has to fit; none for signs without a word."""
        start = self.at
        named = _FIELD.match(self.said, start)
        if named:
            self.at = named.end()
        value, is_quoted = self._value()
        is_prefix = value.endswith("*") and not is_quoted
        if is_quoted and self.at < len(self.said) and self.said[self.at] == "*":
            self.at, is_prefix = self.at + 1, True
        if named:
            return self._field(folded(named[1]), value, is_prefix, start)
        words = tuple(words_of(folded(value)))
        if not words and (is_quoted or is_prefix):
            raise self._error(_("Character %(place)s: there is no word here to look for."), start)
        return [WordsTerm(words, is_prefix)] if words else []

    def _value(self) -> tuple[str, bool]:
        """What stands here up to the next space or its closing quote, and whether it was quoted."""
        start = self.at
        if self.said[start] not in _QUOTES:
            value = self._bare()
            self.at += len(value)
            return value, False
        end = next((at for at in range(start + 1, len(self.said)) if self.said[at] in _QUOTES), None)
        if end is None:
            raise self._error(_("Character %(place)s: this quote is not closed."), start)
        self.at = end + 1
        return self.said[start + 1 : end], True

    def _field(self, name: str, value: str, is_prefix: bool, start: int) -> list[Term]:
        if name == "level":
            level = level_named(value)
            if level is None:
                raise self._error(_("Character %(place)s: there is no level “%(level)s”."), start, level=value)
            return [LevelTerm(level)]
        if name in ("source", "server"):
            return [NameTerm(name == "server", folded(value.removesuffix("*") if is_prefix else value), is_prefix)]
        words = tuple(words_of(folded(value)))
        if not words and not is_prefix:
            raise self._error(_("Character %(place)s: there is no word here to look for."), start)
        in_field = WordsTerm(words, is_prefix, name)
        # Texts say it too: status=500, "status": 500, views.py:500.
        return [in_field, WordsTerm((*words_of(name), *words), is_prefix)] if words else [in_field]

    def _error(self, message: str, position: int, **parts: Part) -> QueryError:
        return QueryError(message, position, place=str(position + 1), **parts)
