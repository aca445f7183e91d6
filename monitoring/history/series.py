"""Which block and slot of a server each series lives in, looked up once per process and layout."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from django.db import transaction
from django.db.models import Count, F
from numpy.typing import NDArray

from monitoring.history.frame import Layout, SeriesName
from monitoring.models import SLOTS_PER_BLOCK, Metric, PushToken, Series, Server

CACHED_SERIES = 1_000_000
"""How many names the remembered layouts may hold together; labels that come and go make new layouts without end."""


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """How values of a layout go into one block: the value of slot `slots[i]` (ascending) is that of `columns[i]`."""

    block: int
    columns: NDArray[np.intp]
    slots: NDArray[np.uint64]


class Place(NamedTuple):
    """Where a series' values are: a block of its server, and a slot of the block."""

    block: int
    slot: int


class SeriesBudget(NamedTuple):
    """How many series a push token may have in all."""

    token_id: int
    most: int


Plan = tuple[BlockPlan, ...]
Pair = tuple[int, Layout]

_plans: dict[Pair, Plan] = {}
_filling = threading.Lock()


@lru_cache(maxsize=10_000)
def _plan(places: tuple[Place, ...]) -> Plan:
    """Equal places give the same object, so that frames of many servers can be grouped by it.

    Of a series that a layout names twice the first counts.
    """
    columns = np.array([place.block * SLOTS_PER_BLOCK + place.slot for place in places], np.int64)
    taken, order = np.unique(columns, return_index=True)
    blocks = taken // SLOTS_PER_BLOCK
    slots = (taken % SLOTS_PER_BLOCK).astype(np.uint64)
    return tuple(BlockPlan(int(block), order[blocks == block], slots[blocks == block]) for block in np.unique(blocks))


def plans_for(pairs: Iterable[Pair]) -> dict[Pair, Plan]:
    """The plan of each (server id, layout); new series are made, in a transaction of their own.

    A pair whose server does not exist is left out. No query when every pair was seen before; safe to run concurrently:
    a server's row is locked while its slots are given out.
    """
    wanted = set(pairs)
    plans = {pair: plan for pair in wanted if (plan := _plans.get(pair)) is not None}
    unknown = wanted - plans.keys()
    if unknown:
        made = _make_plans(list(unknown))
        _remember(made)
        plans |= made
    return plans


def _remember(made: dict[Pair, Plan]) -> None:
    with _filling:
        if sum(len(layout) for _, layout in (*_plans, *made)) > CACHED_SERIES:
            _plans.clear()
            _plan.cache_clear()
        _plans.update(made)


def admit(wanted: Mapping[int, Collection[SeriesName]], budget: SeriesBudget) -> dict[int, dict[SeriesName, Place]]:
    """Where each series of these servers lives, with the wanted ones that did not exist and that `budget` has room for.

    A wanted name that is missing in the answer was over the budget; a server that is missing in it does not exist.
    One query when all is known. Must not be called inside a transaction.
    """
    places = places_of(wanted)
    missing = {server_id: set(names) - places[server_id].keys() for server_id, names in wanted.items()}
    missing = {server_id: names for server_id, names in missing.items() if names}
    if missing:
        existing = _make_series(missing, budget)
        places |= places_of(existing)
        for gone in missing.keys() - existing:
            del places[gone]
    return places


def _make_plans(pairs: Sequence[Pair]) -> dict[Pair, Plan]:
    places = places_of({server_id for server_id, _ in pairs})
    missing: dict[int, set[SeriesName]] = defaultdict(set)
    for server_id, layout in pairs:
        missing[server_id].update(name for name in layout if name not in places[server_id])
    missing = {server_id: names for server_id, names in missing.items() if names}
    if missing:
        existing = _make_series(missing)
        places |= places_of(missing)
        pairs = [pair for pair in pairs if pair[0] not in missing or pair[0] in existing]
    return {
        (server_id, layout): _plan(tuple(places[server_id][name] for name in layout)) for server_id, layout in pairs
    }


def places_of(server_ids: Iterable[int]) -> dict[int, dict[SeriesName, Place]]:
    """Where each known series of the servers lives; one query. Every id is in the answer."""
    places: dict[int, dict[SeriesName, Place]] = {server_id: {} for server_id in server_ids}
    rows = Series.objects.filter(server_id__in=list(places)).values_list(
        "server_id", "metric__name", "labels", "block", "slot"
    )
    for server_id, metric, labels, block, slot in rows.iterator(chunk_size=10_000):
        places[server_id][SeriesName(metric, labels)] = Place(block, slot)
    return places


def ids_of(server_ids: Iterable[int]) -> dict[tuple[int, Place], int]:
    """(server id, place) → series id of the servers' series; one query."""
    rows = Series.objects.filter(server_id__in=list(server_ids)).values_list("server_id", "block", "slot", "pk")
    return {(server_id, Place(block, slot)): pk for server_id, block, slot, pk in rows.iterator(chunk_size=10_000)}


def in_portions(server_ids: Sequence[int], most_series: int) -> Iterator[list[int]]:
    """The servers in portions of about `most_series` series; one that has more comes alone. One query."""
    counts = dict(
        Series.objects.filter(server_id__in=server_ids).values_list("server_id").annotate(Count("pk")).order_by()
    )
    portion: list[int] = []
    size = 0
    for server_id in server_ids:
        size += counts.get(server_id, 0)
        if portion and size > most_series:
            yield portion
            portion, size = [], counts.get(server_id, 0)
        portion.append(server_id)
    if portion:
        yield portion


@transaction.atomic(durable=True)  # what a caller could roll back must not be remembered
def _make_series(missing: Mapping[int, set[SeriesName]], budget: SeriesBudget | None = None) -> set[int]:
    """Give the named series slots, after the ones that are taken, as many as `budget` has room for.

    Returns the ids of servers that exist.
    """
    room = _room(budget, sum(map(len, missing.values()))) if budget else None
    locked = set(
        Server.objects.select_for_update(no_key=True).filter(pk__in=missing).order_by("pk").values_list("pk", flat=True)
    )
    if room == 0:
        return locked
    places = places_of(locked)
    chosen: dict[int, list[SeriesName]] = {}
    for server_id in sorted(locked):
        chosen[server_id] = sorted(missing[server_id] - places[server_id].keys())[:room]
        room = None if room is None else room - len(chosen[server_id])
    metric_ids = _metric_ids({name.metric for names in chosen.values() for name in names})
    new = []
    for server_id, names in chosen.items():
        free = max((p.block * SLOTS_PER_BLOCK + p.slot for p in places[server_id].values()), default=-1) + 1
        for place, name in enumerate(names, free):
            series = Series(server_id=server_id, metric_id=metric_ids[name.metric], labels=name.labels)
            series.block, series.slot = divmod(place, SLOTS_PER_BLOCK)
            series.pushed_by_id = budget.token_id if budget else None
            new.append(series)
    Series.objects.bulk_create(new, batch_size=2000)
    if budget and new:
        PushToken.objects.filter(pk=budget.token_id).update(series_count=F("series_count") + len(new))
    return locked


def _room(budget: SeriesBudget, wanted: int) -> int:
    """How many of `wanted` new series the token may still have; its row stays locked until the caller's commit.

    The kept count may be too high, as series go with their server: it is counted anew before anything is refused.
    """
    locked = PushToken.objects.select_for_update(no_key=True).filter(pk=budget.token_id)
    count = locked.values_list("series_count", flat=True).first()
    if count is None:
        return 0
    if wanted > budget.most - count:
        count = Series.objects.filter(pushed_by=budget.token_id).count()
        locked.update(series_count=count)
    return max(0, budget.most - count)


def _metric_ids(names: set[str]) -> dict[str, int]:
    known = dict(Metric.objects.filter(name__in=names).values_list("name", "pk"))
    if names - known.keys():
        Metric.objects.bulk_create([Metric(name=name) for name in sorted(names - known.keys())], ignore_conflicts=True)
        known = dict(Metric.objects.filter(name__in=names).values_list("name", "pk"))
    return known
