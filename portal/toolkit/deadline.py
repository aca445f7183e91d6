"""A request that must end in time: checked between steps, and told to PostgreSQL for every query."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import Any

from django.db import connection, transaction

_ends_at: ContextVar[float] = ContextVar("ends_at", default=inf)

TOLD_AGAIN_AFTER_S = 0.5
"""How far the time that PostgreSQL was told may lag behind what is left."""


class TooSlowError(Exception):
    """The time is over."""


def set_deadline(seconds: float | None) -> None:
    """From now on `check` fails after so many seconds, in this request or thread; None: never."""
    _ends_at.set(inf if seconds is None else time.monotonic() + seconds)


def remaining_s() -> float:
    """What is left; `inf` without a deadline."""
    return _ends_at.get() - time.monotonic()


def check() -> None:
    """Between two steps of long work. Raises TooSlowError."""
    if remaining_s() <= 0:
        raise TooSlowError


@contextmanager
def queries_in_time() -> Iterator[None]:
    """One transaction whose queries end with the deadline.

    A query that would take longer is cancelled by PostgreSQL (OperationalError); none starts after the end
    (TooSlowError). One round trip more.
    """
    if remaining_s() == inf:
        yield
        return
    with transaction.atomic(), connection.execute_wrapper(_Timed()):
        yield


class _Timed:
    """Tells PostgreSQL how long the next queries may take: before the first, and again when time has passed since."""

    def __init__(self) -> None:
        self._told_at = -inf

    def __call__(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        check()
        now = time.monotonic()
        if now - self._told_at > TOLD_AGAIN_AFTER_S:
            with connection.wrap_database_errors:
                milliseconds = max(1, int(remaining_s() * 1000))
                connection.connection.execute(f"SET LOCAL statement_timeout = {milliseconds}")
            self._told_at = now
        return execute(sql, params, many, context)
