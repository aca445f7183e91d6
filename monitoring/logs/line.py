"""What a line of a log is, on the way in and on the way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from django.db import models
from django.utils.translation import gettext_lazy as _

MAX_TEXT = 65_536
"""Bytes of UTF-8 that are kept of a line; what is longer is cut, and says by how much."""
MAX_SOURCE, MAX_FIELDS, MAX_FIELD_NAME, MAX_FIELD_VALUE = 100, 50, 100, 1_000
"""Characters of a source's name; fields of a line, and the characters of their names and values."""


class Level(models.IntegerChoices):
    """Every other level maps to one of these. Addresses, CSS (is-…) and APIs say `word`."""

    DEBUG = 0, _("Debug")
    INFO = 1, _("Info")
    WARNING = 2, _("Warning")
    ERROR = 3, _("Error")

    @property
    def word(self) -> str:
        return self.name.lower()


class Line(NamedTuple):
    """A line that came in. A way in has found its server, its level and its source.

    `at_ns` is epoch nanoseconds. Lines of one server are the same line when instant, source, level, text and fields
    are: a way in whose clock is coarse has to tell apart lines that only look the same.
    """

    server_id: int
    at_ns: int
    level: Level
    source: str
    text: str
    fields: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Line number `index` of those that were offered was not kept; `reason` is an English msgid."""

    index: int
    reason: str


@dataclass(slots=True)
class Recorded:
    """What became of the lines: kept and committed, how many of these were cut, and the ones that were refused."""

    kept: int = 0
    cut: int = 0
    refused: list[Refusal] = field(default_factory=list)


class Position(NamedTuple):
    """Where a line stands: lines are in the order of their positions, and no two have the same."""

    at_ns: int
    number: int
    """What the line says, as a number below 2**63."""

    @classmethod
    def parse(cls, said: str) -> Self:
        """From an address. Raises ValueError."""
        at_ns, number = (int(part) for part in said.split("-"))
        if not (0 <= at_ns < 2**63 and 0 <= number < 2**63):
            raise ValueError(said[:50])
        return cls(at_ns, number)

    def __str__(self) -> str:
        return f"{self.at_ns}-{self.number}"


class KeptLine(NamedTuple):
    """A line that is kept. `cut` is how many bytes of its text were not."""

    position: Position
    server_id: int
    level: Level
    source: str
    text: str
    fields: Mapping[str, str]
    cut: int
