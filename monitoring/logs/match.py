"""Which lines of a block fit a search. What tells lines apart without their words is looked at first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import orjson
from numpy.typing import NDArray

from monitoring.logs.codec import Block
from monitoring.logs.folding import END, folded_docs, folded_text, folded_texts
from monitoring.logs.line import Level
from monitoring.logs.query import LevelTerm, NameTerm, Query, Term, WordsTerm
from monitoring.logs.words import IS_WORD, folded

Mask = NDArray[np.bool_]

FEW = 24
"""Up to so many lines are read one by one: folding the whole block takes as long."""
_IS_WORD = IS_WORD.tobytes()


@dataclass(frozen=True)
class Matcher:
    """Lines with `start_ns <= at_ns <= end_ns` of these servers (None: all), levels and sources (empty: all).

    `floors` are later starts of some servers; `named_servers` are the ids that each server's name in the query means.
    """

    query: Query
    start_ns: int
    end_ns: int
    servers: Collection[int] | None
    levels: Collection[Level] = ()
    sources: Collection[str] = ()
    floors: Mapping[int, int] = field(default_factory=dict)
    named_servers: Mapping[NameTerm, Collection[int]] = field(default_factory=dict)

    def lines(self, block: Block) -> NDArray[np.intp]:
        """Indexes of the lines that fit, ascending."""
        fits = self._by_columns(block)
        for group in self.query.groups:
            if not fits.any():
                break
            fits = self._any_of(group, block, fits)
        for term in self.query.excluded:
            if fits.any():
                fits = fits & ~self._fitting(term, block, fits)
        return np.flatnonzero(fits)

    @cached_property
    def _allowed(self) -> NDArray[np.int64]:
        return np.sort(np.fromiter(self.servers or (-1,), np.int64))

    @cached_property
    def _is_level(self) -> Mask:
        return np.array([level in self.levels for level in Level])

    def _by_columns(self, block: Block) -> Mask:
        fits = (block.at_ns >= self.start_ns) & (block.at_ns <= self.end_ns)
        if self.levels:
            fits &= self._is_level[block.levels]
        if self.servers is not None:
            # isin() costs more than all the rest.
            places = np.searchsorted(self._allowed, block.server_ids)
            fits &= self._allowed[np.minimum(places, len(self._allowed) - 1)] == block.server_ids
        if self.sources:
            fits &= _of_source(block, self.sources.__contains__)
        if self.floors and fits.any():
            distinct, which = np.unique(block.server_ids, return_inverse=True)
            floors = np.array([self.floors.get(server_id, 0) for server_id in distinct.tolist()])
            fits &= block.at_ns >= floors[which]
        return fits

    def _any_of(self, terms: Collection[Term], block: Block, among: Mask) -> Mask:
        fits = np.zeros(block.count, np.bool_)
        for term in terms:
            fits |= self._fitting(term, block, among & ~fits)
        return fits

    def _fitting(self, term: Term, block: Block, among: Mask) -> Mask:
        """Which of the lines `among` have what the term says."""
        if isinstance(term, LevelTerm):
            return np.asarray(among & (block.levels == term.level))
        if isinstance(term, WordsTerm):
            return _with_words(term, block, among)
        if term.of_server:
            return among & np.isin(block.server_ids, list(self.named_servers.get(term, ())))
        return among & _of_source(block, term.fits)


def _of_source(block: Block, fits: Callable[[str], bool]) -> Mask:
    return np.array([fits(source) for source in block.sources], np.bool_)[block.source_of]


def _with_words(term: WordsTerm, block: Block, among: Mask) -> Mask:
    if np.count_nonzero(among) <= FEW:
        return _one_by_one(term, block, among)
    fits = np.zeros(block.count, np.bool_)
    if term.field is None:
        fits[_lines_with(term, folded_texts(block))] = True
        fits &= among
    return fits | _in_docs(term, block, among & ~fits)


def _in_docs(term: WordsTerm, block: Block, among: Mask) -> Mask:
    """Which of the lines `among` have the words in a field."""
    candidates = _docs_with(term, block)
    is_asked = np.zeros(len(block.field_docs), np.bool_)
    if len(candidates):
        is_asked[block.field_of[among]] = True
    has = np.zeros(len(block.field_docs), np.bool_)
    has[[doc for doc in candidates.tolist() if is_asked[doc] and _doc_fits(term, block.field_docs[doc])]] = True
    return among & has[block.field_of]


def _one_by_one(term: WordsTerm, block: Block, among: Mask) -> Mask:
    fits = np.zeros(block.count, np.bool_)
    for index in np.flatnonzero(among).tolist():
        in_text = term.field is None and term.expression.search(folded_text(block.text(index)))
        fits[index] = bool(in_text) or _doc_fits(term, block.field_docs[block.field_of[index]])
    return fits


def _doc_fits(term: WordsTerm, doc: bytes) -> bool:
    if not doc:
        return False
    fields = orjson.loads(doc).items()
    values = (value for name, value in fields if term.field is None or folded(name) == term.field)
    return any(not term.words or term.expression.search(folded(value)) for value in values)


def _docs_with(term: WordsTerm, block: Block) -> NDArray[np.intp]:
    """Which documents have the needle somewhere."""
    lines = folded_docs(block)
    needle = term.needle if term.words else (term.field or "").encode("utf-8", "replace")
    return _line_numbers(lines, np.fromiter(_once_a_line(lines, needle), np.int64))


def _once_a_line(lines: bytes, needle: bytes) -> Iterator[int]:
    """Where the needle stands, the first time in each line."""
    at = lines.find(needle)
    while at >= 0:
        yield at
        at = lines.find(needle, lines.find(END, at))


def _lines_with(term: WordsTerm, lines: bytes) -> NDArray[np.intp]:
    """The numbers of the lines that have the words."""
    find = _one_word if len(term.words) == 1 and term.needle.isascii() else _phrase
    return _line_numbers(lines, np.fromiter(find(term, lines), np.int64))


def _line_numbers(lines: bytes, places: NDArray[np.int64]) -> NDArray[np.intp]:
    """In which line each place is."""
    if not len(places):
        return places
    return np.searchsorted(np.flatnonzero(np.frombuffer(lines, np.uint8) == END[0]), places)


def _one_word(term: WordsTerm, lines: bytes) -> Iterator[int]:
    """A place in each line that has the word, which is ASCII."""
    needle, length, is_prefix = term.needle, len(term.needle), term.is_prefix
    at = lines.find(needle)
    while at >= 0:
        before, after = lines[at - 1], lines[at + length]
        if not (_IS_WORD[before] or (_IS_WORD[after] and not is_prefix)):
            yield at
            at = lines.find(needle, lines.find(END, at))
        elif (before >= 0x80 and before != END[0]) or (after >= 0x80 and after != END[0]):
            # Beside a character that is not ASCII: whether it is of the word only the expression knows.
            end = lines.find(END, at)
            if term.expression.search(lines[lines.rfind(END, 0, at) + 1 : end].decode()):
                yield at
            at = lines.find(needle, end)
        else:
            at = lines.find(needle, at + 1)


def _phrase(term: WordsTerm, lines: bytes) -> Iterator[int]:
    """A place in each line that has the words."""
    for at in _once_a_line(lines, term.needle):
        if term.expression.search(lines[lines.rfind(END, 0, at) + 1 : lines.find(END, at)].decode()):
            yield at
