"""The newest values of some metrics of many servers at once, as a matrix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from monitoring import hot
from monitoring.history.codec import Ints
from monitoring.history.frame import Floats, SeriesName

HEADLINE = ("cpu", "memory", "disk", "net_rx", "net_tx")
"""What cards and totals show of a machine."""

Where = tuple[int, tuple[int, ...]]
"""How many values a cut has, and which of them each asked metric is; -1: it is not among them."""


class Table(NamedTuple):
    """`values[i, j]` is the j-th metric of the i-th server, NaN where unknown; `at_ms[i]` is the newest instant of any
    of its series, 0 where nothing is known."""

    at_ms: Ints
    values: Floats


def newest_of_metrics(server_ids: Sequence[int], metrics: tuple[str, ...]) -> Table:
    """The newest value of each metric (its series without labels) of each server.

    One Redis round trip, and none to PostgreSQL while Redis has the answer.
    """
    table = Table(np.zeros(len(server_ids), np.int64), np.full((len(server_ids), len(metrics)), np.nan))
    when = np.zeros(table.values.shape)
    for (count, places), (rows, instants, packed) in _cuts_by_shape(server_ids, metrics).items():
        row, at = np.array(rows), np.array(instants, np.float64)
        np.maximum.at(table.at_ms, row, at.astype(np.int64))
        numbers = np.frombuffer(b"".join(packed), "<f8").reshape(len(rows), count)
        for column, place in enumerate(places):
            if place >= 0:
                value = numbers[:, place]
                newer = (at >= when[row, column]) & ~np.isnan(value)
                table.values[row[newer], column] = value[newer]
                when[row[newer], column] = at[newer]
    return table


def _cuts_by_shape(
    server_ids: Sequence[int], metrics: tuple[str, ...]
) -> dict[Where, tuple[list[int], list[int], list[bytes]]]:
    """Cuts whose values mean the same, together: rows of the table, instants, packed values."""
    blobs = hot.cut_blobs(server_ids)
    found = [
        (row, server_id, cut)
        for row, server_id in enumerate(server_ids)
        if (blob := blobs.get(server_id))
        for cut in hot.parse(blob)
    ]
    known = _places(metrics, {(server_id, cut.block, cut.present) for _row, server_id, cut in found})
    groups: dict[Where, tuple[list[int], list[int], list[bytes]]] = defaultdict(lambda: ([], [], []))
    for row, server_id, cut in found:
        rows, instants, packed = groups[known[server_id, cut.block, cut.present]]
        rows.append(row)
        instants.append(cut.at_ms)
        packed.append(cut.packed)
    return groups


_known: dict[tuple[str, ...], dict[tuple[int, int, int], Where]] = defaultdict(dict)
"""By the metrics asked for; a server's slots never change their series."""


def _places(metrics: tuple[str, ...], wanted: set[tuple[int, int, int]]) -> dict[tuple[int, int, int], Where]:
    known = _known[metrics]
    unknown = wanted - known.keys()
    if unknown:
        if len(known) > hot.SHAPES_KEPT:
            known.clear()
            unknown = wanted
        for key, shape in hot.shapes_of(unknown).items():
            column = {name: place for place, name in enumerate(shape.names)}
            known[key] = len(shape.names), tuple(column.get(SeriesName(metric), -1) for metric in metrics)
    return known
