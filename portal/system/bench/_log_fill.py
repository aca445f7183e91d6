"""Fills the logs: another process makes lines and records them as pushes do, this one merges."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from datetime import UTC, datetime, timedelta

import django

from monitoring.logs.merge import merge_due
from monitoring.logs.record import record
from portal.system.bench._log_lines import lines, raw_bytes

PUSH = 20_000
AHEAD = 12
"""Pushes that wait to be merged."""


def fill(server_ids: Sequence[int], start_ns: int, end_ns: int, count: int) -> int:
    """`count` lines of these instants, recorded and merged; returns how many bytes they are as text."""
    pushes = count // PUSH
    step = (end_ns - start_ns) // pushes
    raw = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=django.setup) as pool:
        waiting: set[Future[int]] = set()
        for number in range(pushes):
            at_ns = start_ns + number * step
            waiting.add(pool.submit(_push, server_ids, at_ns, at_ns + step, number))
            if len(waiting) == AHEAD:
                done, waiting = wait(waiting, return_when="FIRST_COMPLETED")
                raw += sum(each.result() for each in done)
                merge()
        raw += sum(each.result() for each in waiting)
    merge()
    return raw


def merge() -> None:
    """Everything that was pushed, as if it had rested."""
    merge_due(datetime.now(UTC) + timedelta(minutes=1), works_s=600)


def _push(server_ids: Sequence[int], start_ns: int, end_ns: int, number: int) -> int:
    made = lines(server_ids, start_ns, end_ns, PUSH, number)
    assert record(made, origin="bench").kept == PUSH
    return raw_bytes(made)
