"""What somebody wants to see of the logs."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitoring.logs.line import KeptLine, Level, Position


@dataclass(frozen=True, slots=True)
class Ask:
    """Which lines. Empty sets mean all; `start_ns <= at_ns < end_ns`, None is open; `words` is a search as typed.

    Whose lines somebody may see is told apart from it, by `servers` of each function that takes an Ask.
    """

    levels: frozenset[Level] = frozenset()
    servers: frozenset[int] = frozenset()
    sources: frozenset[str] = frozenset()
    start_ns: int | None = None
    end_ns: int | None = None
    words: str = ""


@dataclass(slots=True)
class Page:
    """Lines, newest first. `searched_to` is set when time was over before the page was full: go on from there."""

    lines: list[KeptLine] = field(default_factory=list)
    has_older: bool = False
    has_newer: bool = False
    searched_to: Position | None = None


@dataclass(slots=True)
class Tail:
    """What arrived since a cursor, newest first; the same line may come again with the next.

    `left_out` lines more arrived than fit; `is_gap`: the cursor is too old, read the newest page instead.
    """

    cursor: str
    lines: list[KeptLine] = field(default_factory=list)
    left_out: int = 0
    is_gap: bool = False
