"""A line as programs get it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monitoring.logs.line import KeptLine
from portal.toolkit.instants import from_ns


def told(line: KeptLine, names: Mapping[int, str]) -> dict[str, Any]:
    """The text is the raw one, as it came. `names` are those of the servers."""
    return {
        "id": str(line.position),
        "at": stamp(line.position.at_ns),
        "level": line.level.word,
        "server": {"id": str(line.server_id), "name": names.get(line.server_id, "")},
        "source": line.source,
        "text": line.text,
        "fields": dict(line.fields),
        "cut": line.cut,
    }


def stamp(at_ns: int) -> str:
    """ISO 8601, UTC, with nanoseconds."""
    return f"{from_ns(at_ns):%Y-%m-%dT%H:%M:%S}.{at_ns % 1_000_000_000:09d}Z"
