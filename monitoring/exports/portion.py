"""What a kind of export tells the writer: its files, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from monitoring.models.export import Export


@dataclass(frozen=True, slots=True)
class Portion:
    """A piece of a file, and how far the file reaches with it (`Export.written_until`, `.reached`).

    `servers` are those whose data are in it.
    """

    body: bytes
    rows: int
    until: datetime
    reached: str = ""
    servers: frozenset[int] = frozenset()
    is_last: bool = False


class Kind(Protocol):
    """A module that makes one kind of files."""

    @property
    def CONTENT_TYPES(self) -> Mapping[str, str]:  # noqa: N802 - a constant of the module
        """By format, which is also the end of the file's name."""

    def portions(self, export: Export) -> Iterator[Portion]:
        """From where the file reaches to its end. Each is asked for when the one before it is kept, in `export` too."""

    def stem(self, export: Export) -> str:
        """What the file's name begins with: any text."""
