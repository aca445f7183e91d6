"""Rows as text. Numbers are exact: they read back to the same float."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from monitoring.exports.cells import cell, line
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName


class Writer(Protocol):
    """One file format; the texts one after the other are the file. No instant of `rows` is without a value."""

    content_type: str

    def head(self, server: dict[str, Any], series: Sequence[SeriesName]) -> str: ...

    def rows(self, at_ms: Ints, values: Floats, *, is_first: bool) -> str: ...

    def tail(self) -> str: ...


class Csv:
    """A line per instant, a column per series; an empty cell is a gap."""

    content_type = "text/csv; charset=utf-8"

    def head(self, server: dict[str, Any], series: Sequence[SeriesName]) -> str:
        return line(["timestamp", *(cell(column_name(name)) for name in series)])

    def rows(self, at_ms: Ints, values: Floats, *, is_first: bool) -> str:
        return "".join(map(line, _cells(at_ms, values, "")))

    def tail(self) -> str:
        return ""


class Json:
    """{"server", "series", "rows": [{"timestamp", "values": [… null]}]}; values in the order of the series."""

    content_type = "application/json"

    def head(self, server: dict[str, Any], series: Sequence[SeriesName]) -> str:
        about = {"server": server, "series": [series_json(name) for name in series]}
        return json.dumps(about, ensure_ascii=False)[:-1] + ', "rows": ['

    def rows(self, at_ms: Ints, values: Floats, *, is_first: bool) -> str:
        lines = [
            f'\n{{"timestamp": "{at}", "values": [{", ".join(cells)}]}}' for at, *cells in _cells(at_ms, values, "null")
        ]
        return ("" if is_first or not lines else ",") + ",".join(lines)

    def tail(self) -> str:
        return "\n]}\n"


WRITERS: dict[str, Writer] = {"csv": Csv(), "json": Json()}


def column_name(name: SeriesName) -> str:
    """The metric, and labels as Prometheus writes them: disk_used_share{mount="/"}."""
    if not name.labels:
        return name.metric
    labels = (f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in json.loads(name.labels).items())
    return f"{name.metric}{{{','.join(labels)}}}"


def series_json(name: SeriesName) -> dict[str, Any]:
    return {"metric": name.metric, "labels": json.loads(name.labels) if name.labels else {}}


def stamps(at_ms: Ints) -> list[str]:
    """ISO 8601, UTC, with milliseconds."""
    written: list[str] = np.datetime_as_string(at_ms.astype("datetime64[ms]"), unit="ms").tolist()
    return [f"{stamp}Z" for stamp in written]


def _cells(at_ms: Ints, values: Floats, gap: str) -> Iterator[tuple[str, ...]]:
    columns = [[gap if one != one else repr(one) for one in row.tolist()] for row in values]
    return zip(stamps(at_ms), *columns, strict=True)
