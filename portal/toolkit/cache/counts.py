"""How well the cache does, over all processes: each counts for itself and adds to the sums in Redis now and then.

`cache:counts` is a hash "<kind>:<what>" → how often; `cache:process:<host>:<pid>` says what one process holds.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from portal.toolkit.cache.shared import shared_size
from portal.toolkit.redis import AWAY, breaker, client

What = Literal["made", "joined", "hit", "stale", "kept", "refreshed", "failed", "not_modified", "unchanged"]
"""How an answer was come by; and beside that: 304, and of these the ones that had been made for nothing."""

SUMS = "cache:counts"
PROCESS = "cache:process:"
PROCESS_EXPIRY_S = 60


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Of all processes since Redis was emptied last. `cached_share` is the share of answers that nothing had to be read
    for, 304 among them; None before the first. `counts` has them by kind."""

    hits: int
    misses: int
    stale: int
    joined: int
    kept: int
    refreshes: int
    errors: int
    not_modified: int
    cached_share: float | None
    entries: int
    bytes: int
    shared_entries: int
    shared_bytes: int
    counts: dict[str, dict[str, int]]


class Counts:
    """The counts of one process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()

    def add(self, kind: str, what: What) -> None:
        with self._lock:
            self._waiting[f"{kind}:{what}"] += 1

    def flush(self, entries: int, size: int) -> None:
        """Add what was counted since the last time to the sums: one round trip. Kept for later when Redis is away."""
        with self._lock:
            taken, self._waiting = self._waiting, Counter()
        try:
            with breaker:
                pipeline = client().pipeline(transaction=False)
                for name, count in taken.items():
                    pipeline.hincrby(SUMS, name, count)
                name = f"{PROCESS}{socket.gethostname()}:{os.getpid()}"
                pipeline.hset(name, mapping={"entries": entries, "bytes": size})
                pipeline.expire(name, PROCESS_EXPIRY_S)
                pipeline.execute()
        except AWAY:
            with self._lock:
                self._waiting += taken


def statistics() -> CacheStatistics:
    """The sums of all processes; what the last seconds brought may be missing. Raises what `AWAY` names."""
    with breaker:
        sums = client().hgetall(SUMS)
        pipeline = client().pipeline(transaction=False)
        for name in client().scan_iter(match=f"{PROCESS}*", count=1000):
            pipeline.hmget(name, "entries", "bytes")
        held = pipeline.execute()
    counts: dict[str, dict[str, int]] = {}
    for name, count in sums.items():
        assert isinstance(name, bytes)  # what our client answers
        kind, _colon, what = name.decode().rpartition(":")
        counts.setdefault(kind, {})[what] = int(count)
    shared_entries, shared_bytes = shared_size()

    def total(what: What) -> int:
        return sum(of_kind.get(what, 0) for of_kind in counts.values())

    asked = sum(total(what) for what in ("made", "joined", "hit", "stale", "kept"))
    cached = asked - total("made") + total("unchanged")
    return CacheStatistics(
        hits=total("hit"),
        misses=total("made"),
        stale=total("stale"),
        joined=total("joined"),
        kept=total("kept"),
        refreshes=total("refreshed"),
        errors=total("failed"),
        not_modified=total("not_modified"),
        cached_share=cached / asked if asked else None,
        entries=sum(int(entries or 0) for entries, _size in held),
        bytes=sum(int(size or 0) for _entries, size in held),
        shared_entries=shared_entries,
        shared_bytes=shared_bytes,
        counts=counts,
    )
