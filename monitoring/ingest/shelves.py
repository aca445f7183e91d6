"""Where the series of servers that push live, as this process remembers it.

A request may cut an instant anywhere: two hundred requests name the series of a host in two hundred ways. If each were
a layout of its own, each would need a plan of its own. So samples are laid into the blocks of their server: of each
block there is one layout, which only grows, and a request fills of it what it has.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from monitoring.catalogue import BY_NAME
from monitoring.history.frame import Layout, SeriesName
from monitoring.history.series import Place, SeriesBudget, admit
from monitoring.models import Metric

SERIES_KEPT = 1_000_000
REFUSED_KEPT = 100_000
REFUSED_FOR_S = 30.0
MAX_METRIC = 200
MAX_LABELS = 2_000
"""Bytes; more would not fit into the index of names."""
NO_SERVER = "there is no such server"


class Spot(NamedTuple):
    """The place of a series among the values of its block's layout."""

    block: int
    column: int


@dataclass(slots=True)
class Shelf:
    """What is known of a server: of each block the layout, and where in it each series is."""

    spots: dict[SeriesName, Spot] = field(default_factory=dict)
    layouts: dict[int, Layout] = field(default_factory=dict)


_shelves: dict[int, Shelf] = {}
_refused: dict[tuple[int, SeriesName], float] = {}
_counters: set[str] = set()
_same: dict[Layout, Layout] = {}
_filling = threading.Lock()


def shelf(server_id: int) -> Shelf:
    """What is known of the server; nothing when it was not asked for before."""
    return _shelves.get(server_id) or Shelf()


class Stocked(NamedTuple):
    """The shelves as they are now, and of the wanted series those that are not on them, each with the reason."""

    shelves: dict[int, Shelf]
    objections: dict[tuple[int, SeriesName], str]


def over_budget(most: int) -> str:
    return f"the token's budget of {most:,} series is used up"


def stock(wanted: Mapping[int, Collection[SeriesName]], budget: SeriesBudget) -> Stocked:
    """Put the wanted series of these servers on their shelves.

    Costs queries for names that are new or that this process does not know yet; none for what was refused by the budget
    in the last REFUSED_FOR_S seconds. Names that no series can have cost none either.
    """
    now = time.monotonic()
    used_up = over_budget(budget.most)
    objections: dict[tuple[int, SeriesName], str] = {}
    asked: dict[int, list[SeriesName]] = defaultdict(list)
    for server_id, names in wanted.items():
        for name in names:
            if reason := objection_to(name):
                objections[server_id, name] = reason
            elif _refused.get((server_id, name), 0.0) > now:
                objections[server_id, name] = used_up
            else:
                asked[server_id].append(name)
    if not asked:
        return Stocked({}, objections)
    places = admit(asked, budget)
    over = [(pk, name) for pk, names in asked.items() for name in names if name not in places.get(pk, {})]
    made = {server_id: _shelf_of(named) for server_id, named in places.items()}
    _remember(made, over, now + REFUSED_FOR_S)
    return Stocked(made, objections | {key: used_up if key[0] in places else NO_SERVER for key in over})


def objection_to(name: SeriesName) -> str | None:
    """Why no series can be called so, in words."""
    if not name.metric or len(name.metric) > MAX_METRIC:
        return f"a metric's name has 1 to {MAX_METRIC} characters"
    if not name.metric.isprintable():
        return "a metric's name is one line of visible characters"
    if len(name.labels.encode("utf-8", "replace")) > MAX_LABELS:
        return f"the labels of a series have at most {MAX_LABELS:,} bytes together"
    if not name.labels.isprintable():  # what `canonical_labels` writes has escapes for what is not
        return "labels are visible characters"
    return None


def flag_counters(metrics: Collection[str]) -> None:
    """Pages show these as their increase per second. The catalogue's own are none. One query for names not seen yet.

    Names that no metric can have are left out: PostgreSQL takes none with a NUL, not even in a question.
    """
    new = [name for name in metrics if name not in _counters and name not in BY_NAME and name.isprintable()]
    if new:
        Metric.objects.filter(name__in=new, is_counter=False).update(is_counter=True)
        _counters.update(new)


def forget() -> None:
    """What was remembered may be of a database that is another one now."""
    with _filling:
        _shelves.clear()
        _refused.clear()
        _same.clear()
        _counters.clear()


def _remember(made: Mapping[int, Shelf], over: Collection[tuple[int, SeriesName]], until: float) -> None:
    with _filling:
        if sum(len(kept.spots) for kept in _shelves.values()) > SERIES_KEPT:
            _shelves.clear()
            _same.clear()
        _shelves.update(made)
        if len(_refused) + len(over) > REFUSED_KEPT:
            _refused.clear()
        if len(over) <= REFUSED_KEPT:
            _refused.update(dict.fromkeys(over, until))


def _shelf_of(places: Mapping[SeriesName, Place]) -> Shelf:
    blocks: dict[int, list[tuple[int, SeriesName]]] = defaultdict(list)
    for name, place in places.items():
        blocks[place.block].append((place.slot, name))
    made = Shelf()
    for block, slots in blocks.items():
        layout = tuple(name for _slot, name in sorted(slots))
        made.layouts[block] = _same.setdefault(layout, layout)
        made.spots.update({name: Spot(block, column) for column, name in enumerate(layout)})
    return made
