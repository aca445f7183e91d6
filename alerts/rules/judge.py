"""Judging the samples of batches: read, evaluated, told to the incidents, remembered. In the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from alerts import incidents
from alerts.rules.evaluate import NEVER, Floats, Ints, State, evaluate
from alerts.rules.memory import Memory, keep_progress, recall
from alerts.rules.observation import Observation
from alerts.rules.observe import ended, observations
from alerts.rules.rulebook import Indexes, Rulebook, rulebook
from monitoring.models import Batch
from monitoring.queries import samples
from portal.toolkit.instants import from_ms

AHEAD_MS = 5_000
"""What was evaluated further ahead than this of a batch's arrival was evaluated by a clock that was set back since."""


def judge(batches: Sequence[Batch], server_ids: Collection[int], now: datetime) -> None:
    """Evaluate what `batches` brought of these servers, and let the incidents have it.

    May run twice: what was evaluated is not evaluated again. The caller makes sure that nobody else judges meanwhile.
    """
    book = rulebook(now)
    memory = recall(book, list(server_ids), now)
    read = _read(book, batches, memory.servers)
    found = _evaluated(book, memory, read)
    found += _back(book, memory, read)
    if found:
        incidents.apply(found, now)
    fresh = np.unique(book.server_ids[read.series]).tolist()
    if fresh:
        incidents.reflect(fresh, now)
        keep_progress(book, memory)


@dataclass(frozen=True, slots=True)
class _Read:
    """m samples of watched series, in the order of series and time, one for each (series, instant)."""

    series: Indexes
    at_ms: Ints
    arrived_ms: Ints
    values: Floats


def _read(book: Rulebook, batches: Sequence[Batch], servers: Ints) -> _Read:
    wanted = np.isin(book.block_servers, servers)
    found = samples.of_batches(batches, book.block_servers[wanted], book.blocks[wanted], book.late_ms[wanted])
    series = book.find_places(found.server_ids, found.places)
    order = np.lexsort((found.batch_ids, found.at_ms, series))
    order = order[series[order] >= 0]
    series, instants = series[order], found.at_ms[order]
    again = np.append(False, (np.diff(series) == 0) & (np.diff(instants) == 0))[: len(series)]
    kept = order[~again]
    return _Read(series[~again], found.at_ms[kept], found.arrived_ms[kept], found.values[kept])


def _evaluated(book: Rulebook, memory: Memory, read: _Read) -> list[Observation]:
    """Take the samples into the memory; what the incidents must learn of it."""
    positions, watches = book.watches_of(read.series)
    told: list[Observation] = []
    for chosen in _by_count(watches):
        told += _evaluate_some(book, memory, read, positions[chosen], watches[chosen])
    return told


def _by_count(watches: Indexes) -> list[Indexes]:
    """Samples grouped so that the watches of a group have about as many each: one that brings a day of samples must not
    blow up the matrix of thousands that bring one."""
    if not len(watches):
        return []
    _, which, counts = np.unique(watches, return_inverse=True, return_counts=True)
    size = np.ceil(np.log2(counts))[which]
    return [np.flatnonzero(size == one) for one in np.unique(size)]


def _evaluate_some(book: Rulebook, memory: Memory, read: _Read, positions: Indexes, of: Indexes) -> list[Observation]:
    """`read[positions[i]]` is a sample of watch `of[i]`."""
    order = np.argsort(of, kind="stable")  # within a watch they stay in the order of time
    positions = positions[order]
    watches, row, counts = np.unique(of[order], return_inverse=True, return_counts=True)
    column = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = (len(watches), int(counts.max()))
    at_ms, values = np.zeros(shape, np.int64), np.full(shape, np.nan)
    at_ms[row, column], values[row, column] = read.at_ms[positions], read.values[positions]
    newest = np.cumsum(counts) - 1
    was = memory.state.take(watches)
    _forget_the_future(was, read.at_ms[positions][newest], read.arrived_ms[positions][newest])
    now, found = evaluate(book.rules.take(watches), was, at_ms, values)
    memory.state.put(watches, now)
    return observations(book, watches, was, now, found, read.values[positions][newest])


def _forget_the_future(state: State, newest_ms: Ints, arrived_ms: Ints) -> None:
    """After the clock was set back, what arrives would count as evaluated until it has caught up: none would alert."""
    ahead = (state.evaluated_to > arrived_ms + AHEAD_MS) & (newest_ms <= state.evaluated_to)
    state.evaluated_to[ahead] = NEVER


def _back(book: Rulebook, memory: Memory, read: _Read) -> list[Observation]:
    """That silent series have data again."""
    silences = [problem for problem in memory.silences() if problem.series_id is not None]
    back = []
    series = book.find_series(np.array([one.series_id for one in silences], np.int64))
    for problem, index in zip(silences, series.tolist(), strict=True):
        brought = np.flatnonzero(read.series == index)
        if index >= 0 and len(brought):
            first = int(brought[0])
            back.append(ended(problem, from_ms(int(read.at_ms[first])), value=float(read.values[first])))
    return [one for one in back if one is not None]
