"""The one live socket, /ws/live/: a thin ASGI application between a browser and the hub.

Not a Channels consumer: that would give every socket a channel, a Redis subscription and a thread hop per message.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import structlog

from portal.toolkit.live.admission import DATABASE_AWAY, language_of
from portal.toolkit.live.clients import Client
from portal.toolkit.live.frame import EXTENSION, Frame
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.limits import PLACE, TOO_MANY, TRY_AGAIN_LATER, Application, Receive, Scope, Send
from portal.toolkit.live.origin import address_of
from portal.toolkit.live.sign_in import rights
from portal.toolkit.live.topic import Address
from portal.toolkit.live.watcher import PACES_S, Watcher
from portal.toolkit.live.watching import Watching

SIGNED_OUT, TOO_BIG = 4401, 1009
MOST_WATCHED = 500
LONGEST_MESSAGE = 64 * 1024
CLOSE_TIMEOUT_S = 2.0

logger = structlog.get_logger(__name__)


class RefusedError(Exception):
    """A message that we do not follow; the text goes back to whoever sent it."""


class LiveSocket:
    """Needs `user`, `session_key`, `cookies` and a place in the scope: wrap it in `signed_in`, CookieMiddleware,
    `seated` and `own_pages_only`.

    Closes with 4401 when nobody is (or no longer) signed in, 4429 when that person has too many open, 1013 for "come
    back soon", 1009 for too big a message.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        query = parse_qs(scope["query_string"].decode("latin1"))
        self._first_wish = {"watch": query.get("topic", []), "pace": query.get("pace", ["high"])[0]}
        self._hub = Hub.of_this_loop()
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._work: list[asyncio.Future[None]] = []
        self._watcher = Watcher(
            scope.get("extensions", {}).get(EXTENSION, self._send_frame),
            language=language_of(query.get("lang", [""])[0], scope["cookies"], scope["headers"]),
            on_control=lambda said: self._watching.on_control(said),
            on_stalled=lambda: self._end(TRY_AGAIN_LATER),
        )
        user = scope["user"]
        self._watching = Watching(
            self._hub,
            self._watcher,
            user,
            scope["session_key"],
            on_signed_out=lambda: self._end(SIGNED_OUT),
            on_refused=self._soon_tell_refused,
        )
        address = address_of(scope)
        self._client = Client(user, "socket", address, self._watcher, self._watching, time.time())

    @classmethod
    def as_asgi(cls) -> Application:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()  # websocket.connect
            # Accepted even when nobody is signed in: a refused handshake looks like a broken network to a browser.
            await send({"type": "websocket.accept"})
            if not (scope["user"].is_authenticated and scope["user"].is_active):
                await send({"type": "websocket.close", "code": SIGNED_OUT})
                return
            if not scope[PLACE].sit(scope["user"].pk):
                await send({"type": "websocket.close", "code": TOO_MANY})
                return
            await cls(scope, receive, send).run()

        return application

    async def run(self) -> None:
        """Until either side ends it."""
        try:
            await self._obey(self._first_wish)
            self._first_wish = {}  # 40 strings, times every socket
            self._hub.join(self._watcher)  # only now: the first frame is the whole state
            self._hub.rechecker.add(self._watching)
            self._hub.clients.add(self._client)
            self._work.append(asyncio.ensure_future(self._read()))
            ends: set[asyncio.Future[Any]] = {*self._work, self._ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.clients.discard(self._client)
            self._watching.close()
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
                self._watching.remove(_addresses(said["unwatch"]))
            if "watch" in said:
                await self._watch(_addresses(said["watch"]))
        except RefusedError as error:
            await self._say(error=str(error))
        except DATABASE_AWAY:
            self._end(TRY_AGAIN_LATER)

    async def _watch(self, addresses: list[Address]) -> None:
        asked = self._watching.asked
        wanted = [address for address in dict.fromkeys(addresses) if asked.get(address) is None]
        if len(asked.keys() | wanted) > MOST_WATCHED:
            raise RefusedError(f"at most {MOST_WATCHED} topics on one socket")
        if not wanted:
            return
        admitted = await rights.ask((self._watching.user, wanted))
        self._watching.add(wanted, admitted)
        await self._tell_refused(address for address in wanted if address not in admitted)

    def _soon_tell_refused(self, addresses: Iterable[Address]) -> None:
        self._work.append(asyncio.ensure_future(self._tell_refused(addresses)))

    async def _tell_refused(self, addresses: Iterable[Address]) -> None:
        if refused := [str(address) for address in addresses]:
            await self._say(refused=refused)


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
