"""Lines that are JSON, set so that people can read them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

DEEPEST = 20
STEP = "  "
OPENING, CLOSING = frozenset("{["), frozenset("}]")
_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def indented(text: str) -> str | None:
    """`text` with a line for each member when it is a JSON object or list, else None.

    Only white space differs: no number, repeated name or order of the sender is lost.
    """
    said = text.strip()
    if not said.startswith(("{", "[")) or not _is_json(said):
        return None
    words = _WORD.findall(said)
    return "".join(_set(words)) if _depth(words) <= DEEPEST else None


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _depth(words: list[str]) -> int:
    depth = deepest = 0
    for word in words:
        depth += (word in OPENING) - (word in CLOSING)
        deepest = max(deepest, depth)
    return deepest


def _set(words: list[str]) -> Iterator[str]:
    depth, before = 0, ""
    for word in words:
        depth -= word in CLOSING
        is_empty = before in OPENING and word in CLOSING
        if (before in OPENING or before == "," or word in CLOSING) and not is_empty:
            yield "\n" + STEP * depth
        yield ": " if word == ":" else word
        depth += word in OPENING
        before = word
