"""The one live socket, /ws/live/: a thin ASGI application between a browser and the hub.

Not a Channels consumer: that would give every socket a channel, a Redis subscription and a thread hop per message.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import structlog
from django.contrib.auth.models import AbstractBaseUser

from portal.toolkit.live.admission import DATABASE_AWAY, Credential, admit, in_thread, language_of
from portal.toolkit.live.control import session_tag
from portal.toolkit.live.frame import EXTENSION, Frame
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.topic import Address
from portal.toolkit.live.watcher import PACES_S, Watcher

SIGNED_OUT, TRY_AGAIN_LATER, TOO_BIG = 4401, 1013, 1009
MOST_WATCHED = 500
LONGEST_MESSAGE = 64 * 1024
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
        self.credential: Credential = scope["session"].session_key
        self._asked: dict[Address, Address | None] = {}
        """All that was asked for, with the canonical address, or None while that may not be watched."""
        self._hub = Hub.of_this_loop()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._work: list[asyncio.Future[None]] = []
        self.recheck_at = 0.0
        self._watcher = Watcher(
            scope.get("extensions", {}).get(EXTENSION, self._send_frame),
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
        try:
            await self._obey(self._first_wish)
            self._first_wish = {}  # 40 strings, times every socket
            self._hub.join(self._watcher)  # only now: the first frame is the whole state
            self._hub.rechecker.add(self)
            self._work.append(asyncio.ensure_future(self._read()))
            ends: set[asyncio.Future[Any]] = {*self._work, self._ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.rechecker.discard(self)
            self._hub.leave(self._watcher)
            for task in self._work:
                task.cancel()
        for outcome in await asyncio.gather(*self._work, return_exceptions=True):
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

    async def _send_frame(self, frame: Frame) -> None:
        """For servers other than uvicorn with our protocol."""
        await self._send_text(frame.text)

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

    @property
    def asked(self) -> Iterable[Address]:
        return self._asked

    def _on_control(self, said: dict[str, Any]) -> None:
        if isinstance(self.credential, str) and said.get("close_session") == session_tag(self.credential):
            self._end(SIGNED_OUT)
        if said.get("recheck_user") == self._user.pk:
            self._hub.rechecker.at_once(self)
        if said.get("missed"):
            self._hub.rechecker.soon(self)

    def take_rights(
        self, user: AbstractBaseUser | None, asked: Sequence[Address], admitted: dict[Address, Address]
    ) -> None:
        """What the rechecker found: `admitted` of `asked`, which is what was asked for when it looked."""
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
        if taken:
            self._work.append(asyncio.ensure_future(self._tell_refused(taken)))


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
