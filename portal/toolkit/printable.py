"""Text of a stranger, fit for a log line or a page."""

from __future__ import annotations

MAX_WORDS = 200


def printable(text: str, most: int = MAX_WORDS) -> str:
    """`text` as one line without control characters, at most `most` long."""
    cleaned = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[: most + 1])
    return cleaned if len(cleaned) <= most else cleaned[: most - 1] + "…"
