"""The one live socket, /ws/live/: a thin ASGI application between a browser and the hub.

Not a Channels consumer: that would give every socket a channel, a Redis subscription and a thread hop per message.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import structlog
from django.contrib.auth.models import AbstractBaseUser

from portal.toolkit.live.admission import DATABASE_AWAY, admit, in_thread, language_of, person_of
from portal.toolkit.live.control import session_tag
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.topic import Address
from portal.toolkit.live.watcher import PACES_S, Watcher

SIGNED_OUT, TRY_AGAIN_LATER, TOO_BIG = 4401, 1013, 1009
MOST_WATCHED = 500
LONGEST_MESSAGE = 64 * 1024
RECHECK_S = (30.0, 50.0)
RECHECK_WHEN_AWAY_S = 10.0
RECHECK_AFTER_GAP_S = 10.0
CLOSE_TIMEOUT_S = 2.0

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
logger = structlog.get_logger(__name__)


class RefusedError(Exception):
    """A message that we do not follow; the text goes back to whoever sent it."""


class LiveSocket:
    """Needs `user`, `session` and `cookies` in the scope: wrap it in AuthMiddlewareStack and an origin validator.

    Closes with 4401 when nobody is (or no longer) signed in, 1013 for "come back soon", 1009 for too big a message.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        query = parse_qs(scope["query_string"].decode("latin1"))
        self._first_wish = {"watch": query.get("topic", []), "pace": query.get("pace", ["high"])[0]}
        self._user: AbstractBaseUser = scope["user"]
        self._session_key: str | None = scope["session"].session_key
        self._asked: dict[Address, Address | None] = {}
        """All that was asked for, with the canonical address, or None while that may not be watched."""
        self._hub = Hub.of_this_loop()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._recheck_now = asyncio.Event()
        self._watcher = Watcher(
            self._send_text,
            language=language_of(query.get("lang", [""])[0], scope["cookies"], scope["headers"]),
            on_control=self._on_control,
            on_stalled=lambda: self._end(TRY_AGAIN_LATER),
        )

    @classmethod
    def as_asgi(cls) -> Application:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()  # websocket.connect
            # Accepted even when nobody is signed in: a refused handshake looks like a broken network to a browser.
            await send({"type": "websocket.accept"})
            if not (scope["user"].is_authenticated and scope["user"].is_active):
                await send({"type": "websocket.close", "code": SIGNED_OUT})
                return
            await cls(scope, receive, send).run()

        return application

    async def run(self) -> None:
        """Until either side ends it."""
        work: list[asyncio.Future[Any]] = []
        try:
            await self._obey(self._first_wish)
            self._first_wish = {}  # 40 strings, times every socket
            self._hub.join(self._watcher)  # only now: the first frame is the whole state
            work += map(asyncio.ensure_future, (self._read(), self._watcher.run(), self._recheck_for_ever()))
            await asyncio.wait({*work, self._ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(self._watcher)
            for task in work:
                task.cancel()
        for outcome in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
                logger.error("live socket broke", exc_info=outcome)
                self._end(TRY_AGAIN_LATER)
        if self._ended.done():
            await self._close(self._ended.result())

    def _end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    async def _close(self, code: int) -> None:
        """A peer that does not read cannot be told: then the connection just ends with the application."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._send({"type": "websocket.close", "code": code})

    async def _send_text(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    async def _say(self, **said: Any) -> None:
        await self._send_text(json.dumps(said, separators=(",", ":")))

    # --- What the browser says --------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while (message := await self._receive())["type"] == "websocket.receive":
            text = message.get("text") or ""
            if len(text) > LONGEST_MESSAGE:
                self._end(TOO_BIG)
                return
            await self._obey(_parsed(text))

    async def _obey(self, said: Any) -> None:
        """Do what `said` asks; what is wrong with it goes back as {"error"}, what may not be watched as {"refused"}."""
        try:
            if not isinstance(said, dict) or not said or not said.keys() <= {"watch", "unwatch", "pace", "ping"}:
                raise RefusedError('send a JSON object with "watch", "unwatch", "pace" or "ping"')
            if "ping" in said:
                await self._say(pong=said["ping"])
            if "pace" in said:
                self._hub.set_pace(self._watcher, _pace_s(said["pace"]))
            if "unwatch" in said:
                self._unwatch(_addresses(said["unwatch"]))
            if "watch" in said:
                await self._watch(_addresses(said["watch"]))
        except RefusedError as error:
            await self._say(error=str(error))
        except DATABASE_AWAY:
            self._end(TRY_AGAIN_LATER)

    async def _watch(self, addresses: list[Address]) -> None:
        wanted = [address for address in dict.fromkeys(addresses) if self._asked.get(address) is None]
        if len(self._asked.keys() | wanted) > MOST_WATCHED:
            raise RefusedError(f"at most {MOST_WATCHED} topics on one socket")
        if not wanted:
            return
        admitted = await in_thread(lambda: admit(self._user, wanted))
        self._asked |= {address: admitted.get(address) for address in wanted}
        self._hub.watch(self._watcher, admitted.values())
        await self._tell_refused(address for address in wanted if address not in admitted)

    def _unwatch(self, addresses: Iterable[Address]) -> None:
        left = {self._asked.pop(address, None) for address in addresses} - set(self._asked.values())
        self._hub.unwatch(self._watcher, [address for address in left if address])

    async def _tell_refused(self, addresses: Iterable[Address]) -> None:
        if refused := [str(address) for address in addresses]:
            await self._say(refused=refused)

    # --- Still allowed? ---------------------------------------------------------------------------------------------

    def _on_control(self, said: dict[str, Any]) -> None:
        if self._session_key and said.get("close_session") == session_tag(self._session_key):
            self._end(SIGNED_OUT)
        if said.get("recheck_user") == self._user.pk:
            self._recheck_now.set()
        if said.get("missed"):  # an order may have been missed too
            spread_s = random.uniform(0, RECHECK_AFTER_GAP_S)  # noqa: S311
            asyncio.get_running_loop().call_later(spread_s, self._recheck_now.set)

    async def _recheck_for_ever(self) -> None:
        """A socket keeps what it was given when it opened, so look again at session and rights, spread over time."""
        after_s = random.uniform(*RECHECK_S)  # noqa: S311  (spreads load, no secret)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(after_s):
                    await self._recheck_now.wait()
            self._recheck_now.clear()
            try:
                await self._recheck()
                after_s = random.uniform(*RECHECK_S)  # noqa: S311
            except DATABASE_AWAY:
                after_s = RECHECK_WHEN_AWAY_S

    async def _recheck(self) -> None:
        asked = list(self._asked)
        user, admitted = await in_thread(lambda: _who_and_what(self._session_key, asked))
        if user is None or user.pk != self._user.pk:
            self._end(SIGNED_OUT)
            return
        self._user = user
        looked_at = [address for address in asked if address in self._asked]  # the rest was unwatched meanwhile
        taken = [address for address in looked_at if self._asked[address] and address not in admitted]
        before = set(self._asked.values())
        self._asked |= {address: admitted.get(address) for address in looked_at}
        after = set(self._asked.values())
        self._hub.unwatch(self._watcher, filter(None, before - after))
        self._hub.watch(self._watcher, filter(None, after - before))
        await self._tell_refused(taken)


def _who_and_what(
    session_key: str | None, asked: list[Address]
) -> tuple[AbstractBaseUser | None, dict[Address, Address]]:
    user = person_of(session_key)
    return user, admit(user, asked) if user else {}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _addresses(said: Any) -> list[Address]:
    parsed = [Address.parse(text) for text in said if isinstance(text, str)] if isinstance(said, list) else [None]
    addresses = [address for address in parsed if address]
    if len(addresses) != len(said if isinstance(said, list) else [None]):
        raise RefusedError('topics are a list of "name" or "name:key"')
    return addresses


def _pace_s(said: Any) -> float:
    pace_s = PACES_S.get(str(said))
    if pace_s is None:
        raise RefusedError(f"a pace is one of {', '.join(PACES_S)}")
    return pace_s


def later_when_database_is_away(application: Application) -> Application:
    """Wrap what looks up who is signed in: without a database it answers 1013, "come back soon", and no traceback."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await application(scope, receive, send)
        except DATABASE_AWAY:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})

    return guarded
