"""Catalogue metrics of hosts that push what exporters show: CPU, memory, disk and so on, by the collectors' own table.

Requests cut an instant anywhere, and senders shard series over requests. So the raw values are remembered, and what
depends on them is worked out when all have come. A group is what of a host is needed together, as the modes of all
cores. Redis keeps a group's last instants, each as (series, value) entries, and decides what is known: several
processes may take in the parts of one instant. It is asked after the commit, in one round trip a request.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import orjson
import structlog
from django.utils import timezone
from numpy.typing import NDArray

from monitoring.collectors import mapping
from monitoring.collectors.counters import Counters
from monitoring.collectors.exposition import Sample
from monitoring.collectors.measures import Values, tidy
from monitoring.history.frame import FUTURE_MS, SeriesName
from monitoring.history.series import places_of
from monitoring.ingest import hostmetrics, hosts
from monitoring.ingest.door import take
from monitoring.ingest.group_memory import ENTRY, SETTLED_MS, Entries, Instants, Piece, remember
from monitoring.ingest.points import Points, PointSeries
from monitoring.models import PushToken
from portal.toolkit.instants import at_ms as ms_of

log = structlog.get_logger(__name__)

ORIGIN = "derived"
MOST_PIECES = 5_000
NAMES_KEPT = 500_000

_GROUPS = (
    *(group for machine in mapping.MACHINES for group in machine.groups()),
    *(mapping.HTTP_COUNTS, mapping.HTTP_BUCKETS),
    *hostmetrics.GROUPS,
)
GROUP_OF = {name: number for number, group in enumerate(_GROUPS) for name in group}
"""A program's own memory and start are not fed from: beside the exporter of the machine there are many programs."""
CUMULATIVE = frozenset(
    {name for machine in mapping.MACHINES for name in (machine.cpu, *machine.traffic)}
    | {*mapping.HTTP_COUNTS, *mapping.HTTP_BUCKETS}
    | {hostmetrics.CPU_TIME, hostmetrics.NETWORK, hostmetrics.DISK_TRAFFIC}
)
_TARGET = ("job", "instance", "service.namespace", "service.name", "service.instance.id")
"""Labels that tell one exporter on a host from another."""


class _Feed(NamedTuple):
    """What a series feeds: a group, as part of a target."""

    group: int
    target: bytes
    id: int


_feeds: dict[SeriesName, _Feed] = {}
_names: dict[int, tuple[str, dict[str, str]]] = {}


def derive(points: Points, token: PushToken) -> None:
    """Keep the catalogue metrics that can be told now that `points` are kept.

    Costs nothing where no series feeds the table, else one Redis round trip, and a transaction when something is told;
    one query more for hosts whose series another process took in before. A repetition tells the same again. Without
    Redis nothing is told. Raises OperationalError.
    """
    pieces = _pieces(points, token)
    if not pieces:
        return
    values: dict[tuple[str, int], Values] = defaultdict(dict)
    for piece, instants in zip(pieces, remember(pieces), strict=True):
        told = values[piece.host, piece.at_ms]
        try:
            derived = _values(piece, instants)
        except (ArithmeticError, ValueError) as error:  # numbers that no machine has: what was pushed is kept
            log.warning("derive_failed", server=piece.server_id, group=piece.group, error=str(error))
            continue
        for name, value in derived.items():
            if math.isfinite(value) and (name not in told or piece.group not in _SHARES):
                told[name] = value
    found = _points(values)
    if found.series:
        take(found, token, origin=ORIGIN)


def forget() -> None:
    _feeds.clear()
    _names.clear()


_SHARES = frozenset(GROUP_OF[n] for n in (hostmetrics.CPU_SHARE, hostmetrics.MEMORY_SHARE, hostmetrics.DISK_SHARE))


# --- What a request has -----------------------------------------------------------------------------------------------
def _pieces(points: Points, token: PushToken) -> list[Piece]:
    """By instant; none of instants that history does not take, and none of servers that the token may not send for."""
    feeding = [
        index
        for index, (_host, name) in enumerate(points.series)
        if name.metric in GROUP_OF and (name.metric not in CUMULATIVE or name.metric in points.counters)
    ]
    if not feeding:
        return []
    known = hosts.servers_of(token, dict.fromkeys(points.series[index].host for index in feeding), points.hosts)
    units: dict[tuple[str, int, int, bytes], int] = {}
    unit_of = np.full(len(points.series), -1, np.intp)
    ids = np.zeros(len(points.series), np.uint64)
    for index in feeding:
        host, name = points.series[index]
        server_id = known[host]
        if isinstance(server_id, int):
            feed = _feed(name)
            unit_of[index] = units.setdefault((host, server_id, feed.group, feed.target), len(units))
            ids[index] = feed.id
    return _cut(points, unit_of, ids, list(units))


def _cut(
    points: Points, unit_of: NDArray[np.intp], ids: NDArray[np.uint64], units: Sequence[tuple[str, int, int, bytes]]
) -> list[Piece]:
    unit = unit_of[points.which]
    newest_ms = ms_of(timezone.now()) + FUTURE_MS
    chosen = np.flatnonzero((unit >= 0) & (points.at_ms > 0) & (points.at_ms <= newest_ms))
    if not chosen.size:
        return []
    order = chosen[np.lexsort((unit[chosen], points.at_ms[chosen]))]
    unit, at_ms = unit[order], points.at_ms[order]
    entries = np.empty(len(order), ENTRY)
    entries["id"], entries["value"] = ids[points.which[order]], points.values[order]
    starts = np.flatnonzero(np.append(True, (np.diff(unit) != 0) | (np.diff(at_ms) != 0)))
    pieces = []
    for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        host, server_id, group, target = units[unit[first]]
        pieces.append(Piece(int(at_ms[first]), host, server_id, group, target, entries[first:last]))
    return pieces[-MOST_PIECES:]


def _feed(name: SeriesName) -> _Feed:
    feed = _feeds.get(name)
    if feed is None:
        labels: dict[str, str] = orjson.loads(name.labels) if name.labels else {}
        target = _digest("\0".join(labels.get(label, "") for label in _TARGET))
        feed = _Feed(GROUP_OF[name.metric], target, int.from_bytes(_digest(f"{name.metric}{name.labels}"), "little"))
        if len(_feeds) >= NAMES_KEPT:
            forget()
        _feeds[name] = feed
        _names[feed.id] = (name.metric, labels)
    return feed


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


# --- What follows ---------------------------------------------------------------------------------------------------
def _complete(instants: Instants) -> tuple[int, Entries] | None:
    """The instant before to reckon from, None when that cannot be: something is awaited, or nothing is known yet."""
    *earlier, (at_ms, entries) = instants
    if not earlier or earlier[0][0] > at_ms - SETTLED_MS:
        return None
    awaited = np.unique(np.concatenate([some["id"] for _at, some in earlier]))
    if not np.isin(awaited, entries["id"]).all():
        return None
    return next(((at, some) for at, some in reversed(earlier) if len(some) >= len(awaited)), None)


def _values(piece: Piece, instants: Instants) -> Values:
    before = _complete(instants) if instants else None
    if before is None:
        return {}
    before_ms, entries_before = before
    at_ms, entries = instants[-1]
    then = _samples(piece.server_id, entries_before)
    now = _samples(piece.server_id, entries)
    if then is None or now is None:
        return {}
    counters = Counters(0, "", before_ms)
    mapping.catalogue_values(hostmetrics.as_exporter(then, before_ms), counters)
    counters = Counters(0, "", at_ms, (at_ms - before_ms) / 1000, counters.now)
    values = mapping.catalogue_values(hostmetrics.as_exporter(now, at_ms), counters)
    return tidy({**hostmetrics.shares(now), **values})


def _samples(server_id: int, entries: Entries) -> list[Sample] | None:
    """None when a series is known to nobody (any more)."""
    ids = entries["id"].tolist()
    if any(one not in _names for one in ids):
        _learn(server_id)
        if any(one not in _names for one in ids):
            return None
    return [Sample(*_names[one], value) for one, value in zip(ids, entries["value"].tolist(), strict=True)]


def _learn(server_id: int) -> None:
    """Another process took these series in: their names are in the database. One query."""
    for name in places_of([server_id])[server_id]:
        if name.metric in GROUP_OF:
            _feed(name)


def _points(values: Mapping[tuple[str, int], Values]) -> Points:
    rows = list(_rows(values))
    numbers: dict[PointSeries, int] = {}
    which = [numbers.setdefault(series, len(numbers)) for series, _at, _value in rows]
    return Points(
        series=list(numbers),
        which=np.array(which, np.intp),
        at_ms=np.array([at for _series, at, _value in rows], np.int64),
        values=np.array([value for _series, _at, value in rows], np.float64),
    )


def _rows(values: Mapping[tuple[str, int], Values]) -> Iterable[tuple[PointSeries, int, float]]:
    for (host, at_ms), told in values.items():
        for name, value in told.items():
            yield PointSeries(host, name), at_ms, value
