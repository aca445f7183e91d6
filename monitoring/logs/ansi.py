"""What programs send to a terminal between the words: colours, titles, links. Kept, neither shown nor searched."""

from __future__ import annotations

import re

# ECMA-48: CSI … final byte, OSC and the other strings up to their terminator, else two bytes. An unfinished sequence
# loses its introducer alone: what comes after it may be all there is of the line.
_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])", re.ASCII
)


def without_ansi(text: str) -> str:
    """Linear in the length of `text`; nothing to pay for a text without escapes."""
    return _SEQUENCE.sub("", text) if "\x1b" in text else text
