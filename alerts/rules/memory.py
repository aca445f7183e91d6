"""What the evaluator remembers between two runs: how far it came (`Progress`), and what is not fine (`Problem`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db import connection

from alerts.models import Condition, Problem
from alerts.rules.evaluate import CRITICAL, NEVER, WARNING, Ints, State
from alerts.rules.rulebook import Indexes, Rulebook
from portal.toolkit.instants import at_ms

WATCHED_SINCE = 0
"""Stands for a series' id in `Progress.instants`: since when the server has been watched without a break."""


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of all watches of the rulebook; only those of the asked servers are filled in.

    `servers` are the asked ones that have watches, ascending; `watched_since[s]` (epoch ms) of each. `problems` are
    all open ones of the asked servers.
    """

    state: State
    servers: Ints
    watched_since: Ints
    problems: list[Problem]

    def silences(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.condition == Condition.NO_DATA]


def recall(book: Rulebook, server_ids: Sequence[int], now: datetime) -> Memory:
    """What is remembered of these servers; two queries. Who is met for the first time is watched since `now`."""
    servers = np.intersect1d(book.server_ids, np.array(server_ids, np.int64))
    state = State.fresh(len(book.series_of))
    watched_since = np.full(len(servers), at_ms(now), np.int64)
    _recall_progress(book, state, servers, watched_since)
    # One array: a thousand ids as a thousand parameters take Django longer than PostgreSQL needs for the answer.
    of_servers = Problem.objects.extra(where=["alerts_problem.server_id = ANY(%s)"], params=[list(server_ids)])
    problems = list(of_servers.filter(resolved_at=None))
    _recall_problems(book, state, problems)
    return Memory(state, servers, watched_since, problems)


def _recall_progress(book: Rulebook, state: State, servers: Ints, watched_since: Ints) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT server_id, instants FROM alerts_progress WHERE server_id = ANY(%s)",
            [servers.tolist()],
        )
        kept = [(server_id, bytes(instants)) for server_id, instants in cursor.fetchall()]
    pairs = np.frombuffer(b"".join(instants for _, instants in kept), "<i8").reshape(-1, 2)
    series_ids, instants = pairs[:, 0], pairs[:, 1]
    owners = np.repeat([pk for pk, _ in kept], [len(body) // 16 for _, body in kept]).astype(np.int64)
    heads = series_ids == WATCHED_SINCE
    at = np.searchsorted(servers, owners[heads])
    watched_since[at] = instants[heads]
    series = book.find_series(series_ids)
    known = series >= 0
    positions, watches = book.watches_of(series[known])
    state.evaluated_to[watches] = instants[known][positions]


def _recall_problems(book: Rulebook, state: State, problems: Iterable[Problem]) -> None:
    judged = [one for one in problems if one.condition != Condition.NO_DATA and one.series_id is not None]
    for problem, watch in zip(judged, find_watches(book, judged), strict=True):
        if watch < 0:
            continue
        state.since[WARNING, watch] = _ms_or_never(problem.warning_since)
        state.since[CRITICAL, watch] = _ms_or_never(problem.critical_since)
        state.held[:, watch] = problem.warning_held, problem.critical_held
        state.peak[watch] = np.nan if problem.peak is None else problem.peak


def find_watches(book: Rulebook, problems: Sequence[Problem]) -> list[int]:
    """The watch that each problem is of, -1 where it is not watched any more. Each must be of a value and a series."""
    series = book.find_series(np.array([one.series_id for one in problems], np.int64))
    found = [-1] * len(problems)
    for number, index in enumerate(series.tolist()):
        if index >= 0:
            _, watches = book.watches_of(np.array([index]))
            found[number] = next((w for w in watches.tolist() if book.condition(w) == problems[number].condition), -1)
    return found


def _ms_or_never(instant: datetime | None) -> int:
    return NEVER if instant is None else at_ms(instant)


def keep_progress(book: Rulebook, memory: Memory) -> None:
    """Write down how far the servers of `memory` were evaluated; one query. Who left the rulebook leaves here."""
    series = np.flatnonzero(np.isin(book.server_ids, memory.servers))
    series_ids, owners = book.series_ids[series], book.server_ids[series]
    instants = memory.state.evaluated_to[book.first[series]]
    seen = instants != NEVER
    owners = np.concatenate([memory.servers, owners[seen]])
    pairs = np.empty((len(owners), 2), "<i8")
    pairs[:, 0] = np.concatenate([np.full(len(memory.servers), WATCHED_SINCE), series_ids[seen]])
    pairs[:, 1] = np.concatenate([memory.watched_since, instants[seen]])
    pairs = pairs[np.argsort(owners, kind="stable")]
    counts = np.bincount(np.searchsorted(memory.servers, owners), minlength=len(memory.servers))
    _save(memory.servers, pairs.tobytes(), counts)


def _save(servers: Ints, body: bytes, counts: Indexes) -> None:
    """One query with one body: an array of a thousand small ones takes five times as long to quote."""
    lengths = 16 * counts
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO alerts_progress (server_id, instants)
            SELECT server.id, substring(%s::bytea FROM new.start FOR new.length)
            FROM unnest(%s::bigint[], %s::integer[], %s::integer[]) AS new(server_id, start, length)
            JOIN monitoring_server server ON server.id = new.server_id
            ON CONFLICT (server_id) DO UPDATE SET instants = excluded.instants
            """,
            [body, servers.tolist(), (1 + np.cumsum(lengths) - lengths).tolist(), lengths.tolist()],
        )
