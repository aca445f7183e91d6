"""The hub's subscription to Redis, which notices by itself when it is deaf and comes back by itself."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis.asyncio
import structlog
from django.conf import settings
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from portal.toolkit.live.control import CONTROL
from portal.toolkit.live.touch import TOUCHED
from portal.toolkit.redis import AWAY

BEAT_S = 1.0
DEAF_AFTER_S = 3.5
RECONNECT_S = (0.2, 0.5, 1.0, 2.0)
TIMEOUT_S = 2.0
NO_BEAT = -1
"""No beat follows it: the first one on a connection counts as a gap, as nobody knows what came before."""

logger = structlog.get_logger(__name__)


class Feed:
    """Hears `live:touched`, `live:control` and its own beat, published once a second over another connection.

    A subscription that lost its peer looks like a quiet one; only a message that must come tells them apart. Beats are
    numbered: one that is missing means that touches may be missing too. Calls, all in the loop's thread:
    `on_touched(json)`, `on_control(json)`, and `on_gap()` when something may have been missed, also on the first beat.
    """

    def __init__(
        self,
        *,
        on_touched: Callable[[Any], None],
        on_control: Callable[[Any], None],
        on_gap: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._on_touched = on_touched
        self._on_control = on_control
        self._on_gap = on_gap
        self._on_lost = on_lost
        self._own = f"live:beat:{secrets.token_hex(8)}"
        self._beat_sent = 0
        self._beat_heard = NO_BEAT
        self._heard_at = 0.0
        self.is_on = False
        self.is_lost = False
        """From a failure until the next beat is heard; not while it starts."""

    async def run(self) -> None:
        """Listen for ever; cancel to stop."""
        failures = 0
        while True:
            try:
                await self._listen()
            except AWAY as error:
                said = str(error)
            except Exception as error:  # the worker's loop: deaf for ever would be worse than whatever this is
                logger.exception("live feed broke")
                said = repr(error)
            failures = 0 if self.is_on else failures + 1
            self._lose(said)
            await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])

    def _lose(self, said: str) -> None:
        if not self.is_lost:
            logger.warning("live feed lost", error=said)
        self.is_on, self.is_lost = False, True
        self._on_lost()

    async def _listen(self) -> None:
        client = _connect()
        pubsub = client.pubsub()
        beats: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(2 * TIMEOUT_S):
                await pubsub.subscribe(TOUCHED, CONTROL, self._own)
            beats = asyncio.create_task(self._send_beats(client), name="live-beats")
            await self._receive(pubsub)
        finally:
            if beats is not None:
                beats.cancel()
            with suppress(TimeoutError, asyncio.CancelledError, *AWAY):
                async with asyncio.timeout(TIMEOUT_S):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]
                    await client.aclose()

    async def _receive(self, pubsub: PubSub) -> None:
        """Until the connection breaks, or is silent for longer than our own beat allows (TimeoutError)."""
        clock = asyncio.get_running_loop().time
        self._heard_at = clock()
        self._beat_heard = NO_BEAT
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=BEAT_S)
            if message is not None:
                self._dispatch(message["channel"].decode(), message["data"])
            if clock() - self._heard_at > DEAF_AFTER_S:
                raise TimeoutError("no beat heard")

    def _dispatch(self, channel: str, data: bytes) -> None:
        if channel == self._own:
            self._hear_beat(int(data))
            return
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            logger.warning("not a message", channel=channel)
            return
        (self._on_touched if channel == TOUCHED else self._on_control)(said)

    def _hear_beat(self, number: int) -> None:
        missed = number != self._beat_heard + 1
        self._beat_heard = number
        self._heard_at = asyncio.get_running_loop().time()
        if not self.is_on:
            logger.info("live feed is on")
        elif missed:
            logger.warning("live beat missed")
        self.is_on, self.is_lost = True, False
        if missed:
            self._on_gap()

    async def _send_beats(self, client: redis.asyncio.Redis) -> None:
        while True:
            self._beat_sent += 1
            with suppress(*AWAY):  # not heard = noticed
                await client.publish(self._own, str(self._beat_sent))
            await asyncio.sleep(BEAT_S)


def _connect() -> redis.asyncio.Redis:
    """A client that gives up soon: whoever repeats is `Feed.run`, which also tells the pages."""
    options = settings.REDIS_OPTIONS | {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    options |= {"health_check_interval": 0, "retry": Retry(NoBackoff(), 0)}
    return redis.asyncio.Redis.from_url(settings.REDIS_URL, **options)
