"""A circuit breaker: after some failures in a row it fails at once for a while, then lets one caller try."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType


class CircuitOpenError(OSError):
    """Not tried: the last attempts failed, and the rest is not over."""


@dataclass(frozen=True, slots=True)
class BreakerStatistics:
    """How one breaker of this process does. `state` is "closed", "open", or "trying" when the next caller may try;
    `failures` are those in a row; instants are epoch seconds, None for never."""

    name: str
    state: str
    failures: int
    failures_in_all: int
    times_opened: int
    opened_at: float | None
    last_error: str
    last_error_at: float | None


class Breaker:
    """Guards one service in one process; `with breaker:` around each call. Thread-safe.

    After `failures` in a row it opens for `rest_s` seconds, then one caller is let through to see.
    """

    def __init__(self, name: str, *, failures: int, rest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.name = name
        self._limit = failures
        self._rest_s = rest_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failed = 0
        self._next_try_at = 0.0
        self._in_all = 0
        self._times_opened = 0
        self._opened_at: float | None = None
        self._last_error = ""
        self._last_error_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self._failed >= self._limit

    @property
    def state(self) -> str:
        if not self.is_open:
            return "closed"
        return "open" if self._clock() < self._next_try_at else "trying"

    def statistics(self) -> BreakerStatistics:
        with self._lock:
            return BreakerStatistics(
                name=self.name,
                state=self.state,
                failures=self._failed,
                failures_in_all=self._in_all,
                times_opened=self._times_opened,
                opened_at=self._opened_at,
                last_error=self._last_error,
                last_error_at=self._last_error_at,
            )

    def __enter__(self) -> None:
        with self._lock:
            if not self.is_open:
                return
            if self._clock() < self._next_try_at:
                raise CircuitOpenError(f"{self.name} is resting after {self._failed} failures")
            self._next_try_at = self._clock() + self._rest_s  # one caller tries, the others keep resting

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if kind is None:
                self._failed = 0
            elif issubclass(kind, Exception):
                self._fail(f"{kind.__name__}: {error}")

    def _fail(self, words: str) -> None:
        self._failed += 1
        self._in_all += 1
        self._next_try_at = self._clock() + self._rest_s
        self._last_error, self._last_error_at = words, time.time()
        if self._failed == self._limit:
            self._times_opened += 1
            self._opened_at = self._last_error_at
