"""Lines of CSV that no spreadsheet takes for formulas."""

from __future__ import annotations

from collections.abc import Iterable

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet takes a text that begins so for a formula."""


def line(cells: Iterable[str]) -> str:
    return ",".join(cells) + "\r\n"


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula and no reader for two cells."""
    if text.startswith(DANGEROUS):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\r\n') else text
