"""Who has a socket or a stream open, in all web processes: each tells Redis every few seconds, anybody may read it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Literal, Protocol

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
MOST_LISTED, TOGETHER = 2_000, 200
TOPICS_TOLD = 20

logger = structlog.get_logger(__name__)


class Asking(Protocol):
    @property
    def asked(self) -> Iterable[Address]:
        """The same object for as long as nothing else is asked for."""


@dataclass(eq=False, slots=True)
class Client:
    """One open socket or stream; `whole` are the topics of which it watches every key."""

    person: AbstractBaseUser
    transport: Literal["socket", "stream"]
    address: str
    watcher: Watcher
    asking: Asking
    since: float
    whole: Sequence[str] = ()
    _asked: Iterable[Address] | None = field(default=None, init=False)
    """What was asked for when it was told last."""
    _told: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self._told = {
            "person": self.person.get_username(),
            "transport": self.transport,
            "address": self.address,
            "since": self.since,
            "topics": [],
        }

    def told(self) -> dict[str, Any]:
        """For orjson; to be cheap, the same object each time, brought up to date."""
        told, watcher, asked = self._told, self.watcher, self.asking.asked
        if asked is not self._asked:
            self._asked = asked
            every = (Address(name, "*") for name in self.whole)
            told["topics"] = _written(tuple(islice(chain(asked, every), TOPICS_TOLD)))
        told["watched"] = len(watcher.watched)
        told["pace_s"] = watcher.pace_s
        told["frames"] = watcher.frames
        told["unsent"] = len(watcher.unsent) + len(watcher.low)
        told["sending"] = watcher.sending_since is not None
        return told


@lru_cache(1_000)
def _written(addresses: tuple[Address, ...]) -> orjson.Fragment:
    """Once for all sockets of the same screen."""
    return orjson.Fragment(orjson.dumps([str(address) for address in addresses]))


class Clients:
    """Those of one hub."""

    def __init__(self, epoch: str) -> None:
        self._process = f"{socket.gethostname()}:{os.getpid()}:{epoch}"
        self._open: dict[Client, None] = {}
        self._transports: Counter[str] = Counter()

    def add(self, client: Client) -> None:
        self._open[client] = None
        self._transports[client.transport] += 1

    def discard(self, client: Client) -> None:
        if client in self._open:
            del self._open[client]
            self._transports[client.transport] -= 1

    async def tell_for_ever(self, health: Callable[[], str]) -> None:
        """Cancel to stop; then nothing is told of this process any more."""
        connection = async_client()
        try:
            while True:
                delays.turn()
                with suppress(*AWAY):
                    told = orjson.dumps(await self._told(health()))
                    await connection.hset(KEY, mapping={self._process: told})
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
            "sockets": self._transports["socket"],
            "streams": self._transports["stream"],
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
