"""Batches whose evaluation failed: tried again a few times, later and later, so that they stop nobody else.

Known to this process alone. That is enough: another one finds out for itself, and after a restart, which may have
brought the repair, everything that was not given up gets its full count again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

TRIES = 5
FIRST_PAUSE_S = 5.0
FORGOTTEN_AFTER_S = 3600.0


@dataclass(frozen=True, slots=True)
class _Failure:
    times: int
    next_try_at: float
    server_ids: list[int]


_failures: dict[int, _Failure] = {}


def put_off() -> list[int]:
    """The ids of batches that are not to be tried now."""
    now = time.monotonic()
    return [batch_id for batch_id, failure in _failures.items() if failure.next_try_at > now]


def servers_left(batch_id: int, all_of_it: Sequence[int]) -> Sequence[int]:
    """The servers of a batch that have not been evaluated yet: those that failed the last time, if it was tried."""
    failure = _failures.get(batch_id)
    return failure.server_ids if failure else all_of_it


def failed(batch_id: int, server_ids: list[int]) -> bool:
    """Put a batch off for what is left of it; False when it was tried often enough."""
    now = time.monotonic()
    for settled in [one for one, failure in _failures.items() if failure.next_try_at < now - FORGOTTEN_AFTER_S]:
        forget(settled)  # by another process, or deleted
    times = 1 + (_failures[batch_id].times if batch_id in _failures else 0)
    if times >= TRIES:
        return False
    pause_s = FIRST_PAUSE_S * 2 ** (times - 1)
    _failures[batch_id] = _Failure(times, now + pause_s, server_ids)
    return True


def forget(batch_id: int) -> None:
    _failures.pop(batch_id, None)
