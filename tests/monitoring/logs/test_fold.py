"""Folding: lines that say the same but for their numbers are one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.logs.fold import fold, kind_of
from monitoring.logs.line import KeptLine, Level, Position


def line(text: str, at: int = 0, *, server: int = 1, level: Level = Level.INFO, source: str = "app") -> KeptLine:
    return KeptLine(Position(at, 0), server, level, source, text, {}, 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("took 12 ms", "took 7 ms"),
        ("10.0.0.1:80 refused", "10.0.12.200:8080 refused"),
        ("job 0b6ec2ad-2a6f-4c52-a9c9-9f6e9f0a3a11 done", "job ffffffff-2a6f-4c52-a9c9-9f6e9f0a3aaa done"),
        ("at 0x7fff5c", "at 0xDEADBEEF"),
        ("trace 4bf92f3577b34da6 ended", "trace a3ce929d0e0e4736 ended"),
        ("\x1b[31mfailed 3\x1b[0m", "failed 4"),
    ],
)
def test_numbers_and_ids_make_no_difference(one: str, other: str) -> None:
    assert kind_of(line(one)) == kind_of(line(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (line("started"), line("stopped")),
        (line("a", server=1), line("a", server=2)),
        (line("a", level=Level.INFO), line("a", level=Level.ERROR)),
        (line("a", source="app"), line("a", source="db")),
        (line("defaced facade"), line("accedes facade")),
        (line("x", source="y"), line("y", source="x")),
    ],
)
def test_what_says_something_else_stays_apart(one: KeptLine, other: KeptLine) -> None:
    assert kind_of(one) != kind_of(other)


def test_the_newest_stands_for_all_and_says_how_many_and_since_when() -> None:
    lines = [line("took 3 ms", 50), line("started", 40), line("took 1 ms", 30), line("took 2 ms", 20)]

    folded = fold(lines)

    assert [(one.line.position.at_ns, one.count, one.first_ns) for one in folded] == [(50, 3, 20), (40, 1, 40)]


@given(st.lists(st.text(max_size=20), max_size=30))
def test_no_line_is_lost(texts: list[str]) -> None:
    lines = [line(text, len(texts) - number) for number, text in enumerate(texts)]

    folded = fold(lines)

    assert sum(one.count for one in folded) == len(lines)
    assert [kind_of(one.line) for one in folded] == list(dict.fromkeys(map(kind_of, lines)))
