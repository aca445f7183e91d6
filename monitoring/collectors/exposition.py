"""Exposition text (Prometheus 0.0.4 and OpenMetrics) as samples: the good lines are kept, the bad ones named.

Well-formed lines are read with two regular expressions, three to five times as fast as by prometheus-client's parser;
whatever they do not know (quoted UTF-8 names) goes to that parser, line by line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from django.utils.translation import gettext_noop as _
from prometheus_client.parser import text_string_to_metric_families

from portal.toolkit.printable import printable
from portal.toolkit.sentence import counted, paragraph

_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*\s*=\s*"(?:[^"\\]|\\.)*+"'
_LINE = re.compile(
    rf"""([a-zA-Z_:][a-zA-Z0-9_:]*+)                              # name
    (?:[ \t]*\{{\s*+((?:{_LABEL}\s*+(?:,\s*+|(?=\}})))*+)\}}[ \t]*+|[ \t]++)  # labels
    ([^\s_]++)                                                    # value
    (?:[ \t]++-?[0-9.eE+-]++)?                                    # instant
    (?:[ \t]*+\#.*+)?                                             # exemplar
    [ \t]*+""",
    re.VERBOSE,
)
_LABELS = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*+)"')
_QUOTED_NAME = re.compile(r'[{,]\s*"')
_ESCAPED = re.compile(r"\\(.)")

MAX_NAME = 200
MAX_SLOW_LINE = 16_384
Kind = Literal["counter", "gauge", "made"]


class Sample(NamedTuple):
    name: str
    labels: Mapping[str, str]
    value: float
    line: int = 0


class TooManySamplesError(Exception):
    """The text has more sample lines than the limit."""


@dataclass
class Exposition:
    """What a text showed. `seen` counts its sample lines, good and bad; `first_bad` is (line number, line)."""

    samples: list[Sample] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)
    seen: int = 0
    bad: int = 0
    first_bad: tuple[int, str] = (0, "")
    cut: bool = False
    has_eof: bool = False

    def kind(self, name: str) -> Kind:
        """Whether the samples called `name` only grow. "made" is a series' creation time, which is no measurement."""
        kind = self.types.get(name)
        if kind is not None:
            return "counter" if kind == "counter" else "gauge"
        base, _underscore, suffix = name.rpartition("_")
        family = self.types.get(base)
        if suffix == "created" and family in {"counter", "histogram", "summary"}:
            return "made"
        if suffix in {"bucket", "count", "sum"} and family in {"histogram", "summary"}:
            return "counter"
        return "counter" if suffix == "total" and family in {None, "counter"} else "gauge"

    def name_bad(self, number: int, line: str) -> None:
        if not self.bad:
            self.first_bad = (number, printable(line, 80))
        self.bad += 1

    @property
    def complaint(self) -> str:
        """What could not be read, as a stored sentence; "" when all could."""
        words = [_("The answer was cut off.")] if self.cut else []
        if self.bad:
            words.append(
                counted(
                    "Line %(number)s could not be used: “%(line)s”.",
                    "%(count)d lines could not be used; the first is line %(number)s: “%(line)s”.",
                    self.bad,
                    number=str(self.first_bad[0]),
                    line=self.first_bad[1],
                )
            )
        return paragraph(words)


def parse(text: str, *, limit: int, whole: bool = True, wanted: Container[str] | None = None) -> Exposition:
    """Read `text`; samples of names outside `wanted` are only counted. Raises TooManySamplesError above `limit`.

    When `text` may not be `whole`, a last line without an end may be half a number: it is named bad. Instants in the
    text are left aside: samples are of the moment when they were read.
    """
    result = Exposition()
    for number, line in _lines(text):
        if not line:
            continue
        if line[0] == "#":
            _comment(line, result)
            continue
        result.seen += 1
        if result.seen > limit:
            raise TooManySamplesError
        if not whole and line[-1] != "\n":
            result.cut = True
            result.name_bad(number, line)
            continue
        sample = _sample(line.strip(), number, wanted)
        if sample is None:
            result.name_bad(number, line.strip())
        elif wanted is None or sample.name in wanted:
            result.samples.append(sample)
    return result


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends, and without the blanks before; only a line feed ends a line."""
    for number, line in enumerate(io.StringIO(text, newline="\n"), 1):
        stripped = line.lstrip()
        if stripped:
            yield number, stripped


def _comment(line: str, result: Exposition) -> None:
    parts = line.split(None, 4)
    if parts[:2] == ["#", "TYPE"] and len(parts) == 4:
        result.types[parts[2].strip('"')] = parts[3]
    elif parts == ["#", "EOF"]:
        result.has_eof = True


def _sample(line: str, number: int, wanted: Container[str] | None) -> Sample | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return _unusual_sample(line, number)
    name, labels, digits = match.groups()
    try:
        value = float(digits)
    except ValueError:
        return None
    if labels is None or (wanted is not None and name not in wanted):
        return Sample(name, {}, value, number) if len(name) <= MAX_NAME else None
    pairs = _LABELS.findall(labels)
    found = {key: _ESCAPED.sub(_unescape, text) if "\\" in text else text for key, text in pairs if text}
    if len(name) > MAX_NAME or len({key for key, _text in pairs}) < len(pairs):
        return None
    return Sample(name, found, value, number)


def _unescape(match: re.Match[str]) -> str:
    return {"n": "\n", "\\": "\\", '"': '"'}.get(match[1], match[0])


def _unusual_sample(line: str, number: int) -> Sample | None:
    """A line with a name in quotes, as prometheus-client reads it; it is laxer than the format with other lines."""
    if len(line) > MAX_SLOW_LINE or not _QUOTED_NAME.search(line):
        return None
    try:
        [family] = text_string_to_metric_families(line + "\n")
        [sample] = family.samples
    except (ValueError, IndexError):
        return None
    if len(sample.name) > MAX_NAME or not sample.name.isprintable():
        return None
    labels = {key: text for key, text in sample.labels.items() if text}
    return Sample(sample.name, labels, float(sample.value), number)
