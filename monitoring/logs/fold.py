"""Lines that say the same but for their numbers, as one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from monitoring.logs.ansi import without_ansi
from monitoring.logs.line import KeptLine

COMPARED = 4000
"""Characters of a text in which lines have to agree."""

# UUIDs, 0x…, eight or more hexadecimal digits with a decimal one among them, and decimal numbers.
_NUMBER = re.compile(
    r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b0x[0-9a-f]+\b|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b|[0-9]+",
    re.IGNORECASE | re.ASCII,
)


@dataclass(slots=True)
class Folded:
    """`line`, the newest of `count` lines that say the same; the oldest of them is of `first_ns`.

    `key` is equal for what folds together, on other pages too.
    """

    line: KeptLine
    count: int
    first_ns: int
    key: str


def fold(lines: Iterable[KeptLine]) -> list[Folded]:
    """`lines` (newest first), each kind once, where its newest stands."""
    kinds: dict[str, Folded] = {}
    for line in lines:
        key = kind_of(line)
        if known := kinds.get(key):
            known.count += 1
            known.first_ns = line.position.at_ns
        else:
            kinds[key] = Folded(line, 1, line.position.at_ns, key)
    return list(kinds.values())


def kind_of(line: KeptLine) -> str:
    """The same for lines of one server, source and level whose texts differ in numbers and ids alone."""
    said = _NUMBER.sub("#", without_ansi(line.text)[:COMPARED])
    told = "\0".join((str(line.server_id), line.level.word, line.source, said))
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
