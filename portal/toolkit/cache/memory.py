"""The part of the cache that is in the process: bounded in bytes, the least used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict

from portal.toolkit.cache.entry import Entry


class Memory:
    """Entries by key until their time is over. Thread-safe."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[Entry, float]] = OrderedDict()

    def get(self, key: str) -> Entry | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: str, entry: Entry, until: float) -> None:
        """Keep `entry` until then (epoch seconds), unless a newer one is there."""
        with self._lock:
            there = self._kept.get(key)
            if there is None or there[0].made_at <= entry.made_at:
                self._kept[key] = (entry, until)
                self._kept.move_to_end(key)
            while len(self._kept) > 1 and self._size() > self._most_bytes:
                self._kept.popitem(last=False)

    def sweep(self, now: float) -> None:
        """Drop what is over."""
        with self._lock:
            for key in [key for key, (_entry, until) in self._kept.items() if until <= now]:
                del self._kept[key]

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()

    def size(self) -> tuple[int, int]:
        """(entries, bytes)."""
        with self._lock:
            return len(self._kept), self._size()

    def _size(self) -> int:
        return sum(entry.size for entry, _until in self._kept.values())
