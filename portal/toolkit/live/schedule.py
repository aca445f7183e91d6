"""Which sockets are to be sent to, and when: those that are ready now, and a heap of those whose pace says later."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from heapq import heappop, heappush
from itertools import count

from portal.toolkit.live.watcher import Watcher


class Schedule:
    """Costs nothing per socket that has nothing to send. A socket that is busy is added again when its send ends."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._ready: dict[Watcher, None] = {}
        self._later: list[tuple[float, int, Watcher]] = []
        self._numbers = count()  # the heap never compares watchers
        self._wake = asyncio.Event()

    def add(self, watcher: Watcher, now: float) -> None:
        """`watcher` has something unsent or a beat due; adding it twice is harmless."""
        if watcher.sending_since is not None:
            return
        ready_at = watcher.ready_at
        if ready_at <= now:
            self._ready[watcher] = None
            self._wake.set()
        elif watcher.queued_at is None or ready_at < watcher.queued_at:
            watcher.queued_at = ready_at
            heappush(self._later, (ready_at, next(self._numbers), watcher))
            if self._later[0][2] is watcher:
                self._wake.set()

    async def next_ready(self) -> list[Watcher]:
        """Wait until somebody is ready, and take all who are."""
        while True:
            self._wake.clear()
            self._move_ready()
            if self._ready:
                ready, self._ready = self._ready, {}
                return list(ready)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._later[0][0] if self._later else None):
                    await self._wake.wait()

    def _move_ready(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            queued_at, _, watcher = heappop(self._later)
            if watcher.queued_at == queued_at:  # else its pace changed, and it is in the heap a second time
                watcher.queued_at = None
                self.add(watcher, now)
