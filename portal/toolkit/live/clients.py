"""Who has a socket or a stream open, in all web processes: each tells Redis every few seconds, anybody may read it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import orjson
import structlog
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser

from portal.toolkit.live.limits import places
from portal.toolkit.live.timing import delays
from portal.toolkit.live.topic import Address
from portal.toolkit.live.watcher import Watcher
from portal.toolkit.redis import AWAY, async_client, breaker, client

KEY = "live:clients"
"""A hash: by process what it told last."""
EVERY_S = 5.0
FRESH_S = 20.0
"""A process that told nothing for this long is gone."""
MOST_LISTED, TOGETHER = 2_000, 100
TOPICS_TOLD = 20

logger = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Client:
    """One open socket or stream."""

    person: AbstractBaseUser
    transport: Literal["socket", "stream"]
    address: str
    watcher: Watcher
    asked: Callable[[], Iterable[Address]]
    since: float

    def told(self) -> dict[str, Any]:
        asked = list(self.asked())
        return {
            "person": self.person.get_username(),
            "transport": self.transport,
            "address": self.address,
            "since": self.since,
            "topics": [str(address) for address in asked[:TOPICS_TOLD]],
            "watched": len(self.watcher.watched),
            "pace_s": self.watcher.pace_s,
            "frames": self.watcher.frames,
            "unsent": len(self.watcher.unsent) + len(self.watcher.low),
            "sending": self.watcher.is_busy,
        }


class Clients:
    """Those of one hub."""

    def __init__(self, epoch: str) -> None:
        self._process = f"{socket.gethostname()}:{os.getpid()}:{epoch}"
        self._open: dict[Client, None] = {}

    def add(self, client: Client) -> None:
        self._open[client] = None

    def discard(self, client: Client) -> None:
        self._open.pop(client, None)

    async def tell_for_ever(self, health: Callable[[], str]) -> None:
        """Cancel to stop; then nothing is told of this process any more."""
        connection = async_client()
        try:
            while True:
                delays.turn()
                with suppress(*AWAY):
                    await connection.hset(KEY, self._process, orjson.dumps(await self._told(health())).decode())
                    await connection.expire(KEY, int(3 * FRESH_S))
                await asyncio.sleep(EVERY_S)
        finally:
            with suppress(TimeoutError, asyncio.CancelledError, *AWAY):
                async with asyncio.timeout(1):
                    await connection.hdel(KEY, self._process)
                    await connection.aclose()

    async def _told(self, health: str) -> dict[str, Any]:
        listed: list[dict[str, Any]] = []
        for one in list(islice(self._open, MOST_LISTED)):
            listed.append(one.told())
            if len(listed) % TOGETHER == 0:
                await asyncio.sleep(0)  # whoever waits for a frame goes first
        return {
            "at": time.time(),
            "process": settings.PROCESS,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "health": health,
            "taken": places.taken,
            "limit": settings.LIVE_SOCKETS,
            "sockets": sum(one.transport == "socket" for one in self._open),
            "streams": sum(one.transport == "stream" for one in self._open),
            "delays": delays.recent,
            "delays_ever": delays.counts,
            "delays_total_s": delays.total_s,
            "clients": listed,
        }


def everywhere(now: float | None = None) -> list[dict[str, Any]]:
    """What each process told last, as `Clients` tells it; those that are gone are left out. One Redis round trip.

    Raises AWAY.
    """
    now = time.time() if now is None else now
    with breaker:
        told = [orjson.loads(text) for text in client().hvals(KEY)]
    fresh = [process for process in told if now - process["at"] < FRESH_S]
    return sorted(fresh, key=lambda process: (process["host"], process["pid"]))
