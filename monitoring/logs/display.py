"""A line's text for people: a stranger's text, which becomes HTML here and nowhere else."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from django.utils.safestring import SafeString

from monitoring.logs.ansi import without_ansi

Marks = re.Pattern[str] | None
"""What is marked: each match of it, looked for in the text without ANSI."""

SHORT = 500
"""Characters of a line in a list."""
BEFORE_MATCH = 80
LINE_END = '<span class="log-sign">\N{RETURN SYMBOL}</span> '
CUT = "…"

# Controls but tab and line feed; what turns the direction of a text, has no width or looks like nothing; lone
# surrogates; tags. The joiners stay: writing systems and emoji need them.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


class Short(NamedTuple):
    """One line of HTML; `is_whole` when nothing of the text is missing."""

    html: SafeString
    is_whole: bool


def short(text: str, marks: Marks = None, most: int = SHORT) -> Short:
    """The text on one line, its line ends as a sign; of a long one `most` characters, near the first match."""
    plain = _plain(text)
    begin = _begin(plain, marks, most)
    end = min(begin + most, len(plain))
    shown = _html(plain, marks, begin, end).replace("\n", LINE_END)
    is_whole = not begin and end == len(plain)
    return Short(SafeString(f"{CUT if begin else ''}{shown}{CUT if end < len(plain) else ''}"), is_whole)


def whole(text: str, marks: Marks = None) -> SafeString:
    """All of the text with its line ends, for an element that keeps them."""
    plain = _plain(text)
    return SafeString(_html(plain, marks, 0, len(plain)))


def _plain(text: str) -> str:
    return without_ansi(text).replace("\r\n", "\n").rstrip("\r\n")


def _begin(plain: str, marks: Marks, most: int) -> int:
    """Where a short form begins: at the start, unless the first match would not be seen then."""
    match = marks.search(plain) if marks and len(plain) > most else None
    return max(0, match.start() - BEFORE_MATCH) if match and match.end() > most else 0


def _html(plain: str, marks: Marks, begin: int, end: int) -> str:
    parts, done = [], begin
    for start, stop in _spans(plain, marks, begin, end):
        parts += [_escaped(plain[done:start]), "<mark>", _escaped(plain[start:stop]), "</mark>"]
        done = stop
    return "".join([*parts, _escaped(plain[done:end])])


def _spans(plain: str, marks: Marks, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """The matches between `begin` and `end`; the pattern sees the whole text, so that half a word is none."""
    for match in marks.finditer(plain) if marks else ():
        if match.start() >= end:
            return
        start, stop = max(match.start(), begin), min(match.end(), end)
        if start < stop:
            yield start, stop


def _escaped(part: str) -> str:
    return _HIDDEN.sub(_sign, html.escape(part))


def _sign(match: re.Match[str]) -> str:
    """What cannot be seen, as something that can; an element, so that nobody takes it for what the line says."""
    char = match[0]
    picture = chr(0x2400 + ord(char)) if ord(char) < 0x20 else "\N{SYMBOL FOR DELETE}" if char == "\x7f" else ""
    name = unicodedata.name(picture or char, "").removeprefix("SYMBOL FOR ")
    code = f"U+{ord(char):04X}"
    return f'<span class="log-sign" title="{f"{code} {name}".strip()}">{picture or code}</span>'
