"""The samples of a server as a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
from django.contrib.auth.models import AbstractUser
from django.utils.translation import gettext as _

from monitoring.exports.asking import ExportError, make
from monitoring.exports.portion import Portion
from monitoring.exports.rows import WRITERS, stamps
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName
from monitoring.history.paging import page
from monitoring.history.read import names_of, read
from monitoring.models import Server
from monitoring.models.export import Export, ExportKind
from portal.toolkit.instants import at_ms, from_ms

CONTENT_TYPES = {word: writer.content_type for word, writer in WRITERS.items()}
MOST_SERIES = 2000
FIRST_PORTION_MS, SHORTEST_MS, LONGEST_MS = 15 * 60_000, 60_000, 32 * 86_400_000
PORTION_VALUES = 400_000
MOST_VALUES = 2_000_000
"""Of a portion, should there be a sample each second: what follows after little may be as dense as that."""
GROWTH = 4


def ask(
    person: AbstractUser,
    server: Server,
    metrics: Sequence[str],
    start: datetime | None,
    end: datetime | None,
    format: str,
    now: datetime,
) -> Export:
    """A new export of the named metrics (all when empty) with start <= instant < end, waiting for a worker.

    Without `start` it begins with the first sample, without `end` it ends now. The caller has made sure that `person`
    may see `server`. Raises ExportError.
    """
    if format not in CONTENT_TYPES:
        raise ExportError("unknown_format", _("A file is csv or json."))
    names = _series(server, metrics)
    end = min(end or now, now)
    start = _first_sample(server, names, start, end)
    return make(
        person,
        kind=ExportKind.HISTORY,
        server=server,
        servers=[server.pk],
        asked=[list(name) for name in names],
        starts_at=start,
        ends_at=end,
        format=format,
    )


def series_of(export: Export) -> list[SeriesName]:
    """The columns: those that the server had when the export was asked for."""
    return [SeriesName(*name) for name in export.asked]


def stem(export: Export) -> str:
    return _server(export).name


def portions(export: Export) -> Iterator[Portion]:
    """Spans of time, longer where there is little, and shorter where there is much."""
    names = series_of(export)
    width_ms, last_ms = FIRST_PORTION_MS, at_ms(export.ends_at)
    longest_ms = max(SHORTEST_MS, min(LONGEST_MS, 1000 * MOST_VALUES // len(names)))
    end_ms = -1
    while end_ms < last_ms:
        start_ms = at_ms(export.written_until or export.starts_at)
        end_ms = min(start_ms + width_ms, last_ms)
        at, values = _samples(export, names, start_ms, end_ms)
        if not len(at):
            end_ms = _next_sample(export, names, end_ms, last_ms)
        is_last = end_ms >= last_ms
        text = _text(export, at, values, is_last=is_last)
        yield Portion(text.encode(), len(at), from_ms(end_ms), servers=frozenset(export.servers), is_last=is_last)
        width_ms = min(_next_width(width_ms, values.size), longest_ms)


def _samples(export: Export, names: Sequence[SeriesName], start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
    tracks = read(_server(export).pk, names, start_ms, end_ms)
    real = ~np.isnan(tracks.values).all(axis=0)
    return tracks.at_ms[real], tracks.values[:, real]


def _next_sample(export: Export, names: Sequence[SeriesName], start_ms: int, end_ms: int) -> int:
    """The instant of the first sample with start_ms <= instant < end_ms, or `end_ms`: months of nothing are a step."""
    found = page(_server(export).pk, names, start_ms, end_ms, backwards=False, limit=1).at_ms
    return int(found[0]) if len(found) else end_ms


def _text(export: Export, at: Ints, values: Floats, *, is_last: bool) -> str:
    writer = WRITERS[export.format]
    text = writer.rows(at, values, is_first=export.rows == 0)
    if export.written_until is None:
        text = writer.head(_about(export), series_of(export)) + text
    return text + writer.tail() if is_last else text


def _about(export: Export) -> dict[str, object]:
    start, end = stamps(np.array([at_ms(export.starts_at), at_ms(export.ends_at)], np.int64))
    return {"id": export.server_id, "name": _server(export).name, "from": start, "to": end}


def _server(export: Export) -> Server:
    assert export.server is not None, "an export of history is of one server"
    return export.server


def _next_width(width_ms: int, found: int) -> int:
    factor = min(GROWTH, PORTION_VALUES / found) if found else GROWTH
    return max(SHORTEST_MS, min(LONGEST_MS, int(width_ms * factor)))


def _series(server: Server, metrics: Sequence[str]) -> list[SeriesName]:
    had = names_of(server.pk)
    unknown = set(metrics) - {name.metric for name in had}
    if unknown:
        raise ExportError(
            "unknown_metric", _("%(server)s has no metric “%(name)s”.") % {"server": server, "name": min(unknown)}
        )
    names = [name for name in had if not metrics or name.metric in metrics]
    if not names:
        raise ExportError("no_samples", _("%(server)s has no samples yet.") % {"server": server})
    if len(names) > MOST_SERIES:
        raise ExportError(
            "too_many_series",
            _("These are %(count)d series, and a file has at most %(most)d: name some metrics.")
            % {"count": len(names), "most": MOST_SERIES},
        )
    return names


def _first_sample(server: Server, names: Sequence[SeriesName], start: datetime | None, end: datetime) -> datetime:
    """`start`, or the first sample after it: then the share that is done tells how long it still takes."""
    asked_ms, end_ms = max(0, at_ms(start) or 0), at_ms(end)
    if asked_ms >= end_ms:
        raise ExportError("empty_range", _("The range ends before it begins."))
    first = page(server.pk, names, asked_ms, end_ms, backwards=False, limit=1).at_ms
    if len(first):
        return from_ms(int(first[0]))
    return from_ms(asked_ms) if start else end
