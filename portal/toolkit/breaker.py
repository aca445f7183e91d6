"""A circuit breaker: after some failures in a row it fails at once for a while, then lets one caller try."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType


class CircuitOpenError(OSError):
    """Not tried: the last attempts failed, and the rest is not over."""


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

    @property
    def is_open(self) -> bool:
        return self._failed >= self._limit

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
                self._failed += 1
                self._next_try_at = self._clock() + self._rest_s
