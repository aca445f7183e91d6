"""One open stream of server-sent events: what the socket is, for who cannot have one, and for programs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.auth.models import AbstractBaseUser

from portal.toolkit.live.admission import DATABASE_AWAY, Credential, in_thread
from portal.toolkit.live.clients import Client
from portal.toolkit.live.events import Events, PageEvents, ProgramEvents, event
from portal.toolkit.live.frame import Frame
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.limits import TRY_AGAIN_LATER, Place, Receive, Send
from portal.toolkit.live.programs import JSON
from portal.toolkit.live.topic import Address, topics
from portal.toolkit.live.watcher import Watcher
from portal.toolkit.live.watching import Watching

LIFETIME_S = 600.0
RETRY_MS = 3000
CLOSE_TIMEOUT_S = 2.0
IN_ORDER, SIGNED_OUT = 1000, 4401
REASONS = {
    IN_ORDER: "as long as a stream may be open: come again",
    SIGNED_OUT: "signed out",
    TRY_AGAIN_LATER: "come back later",
}

_open: set[LiveStream] = set()


def end_streams() -> None:
    """The server stops: a stream would keep it waiting. In the loop's thread."""
    for stream in _open:
        stream.end(TRY_AGAIN_LATER)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A stream that has been let in. `language` is a page's, or JSON for a program; `every` are the topics of which
    all keys are watched that the person may, with these keys now; `client` is the address of the other side.
    """

    user: AbstractBaseUser
    credential: Credential
    language: str
    asked: Sequence[Address]
    admitted: Mapping[Address, Address]
    every: Mapping[str, Sequence[str]]
    pace_s: float
    place: Place
    client: str
    last_event_id: str = ""


class LiveStream:
    """Needs nothing but the loop while nothing happens: no thread, no connection to the database."""

    def __init__(self, ticket: Ticket, receive: Receive, send: Send) -> None:
        self._ticket = ticket
        self._receive = receive
        self._send = send
        self._hub = hub = Hub.of_this_loop()
        self._events: Events = (
            ProgramEvents(hub.epoch, ticket.last_event_id) if ticket.language == JSON else PageEvents(hub.epoch)
        )
        self._watcher = Watcher(
            self._send_frame,
            language=ticket.language,
            on_control=lambda said: self._watching.on_control(said),
            on_stalled=lambda: self.end(TRY_AGAIN_LATER),
        )
        self._watcher.pace_s = ticket.pace_s
        self._watching = Watching(
            hub,
            self._watcher,
            ticket.user,
            ticket.credential,
            on_signed_out=lambda: self.end(SIGNED_OUT),
            on_refused=lambda addresses: self._soon(self._tell_refused(addresses)),
            on_looked_at=lambda user: self._soon(self._look_for_more(user)) if ticket.every else None,
        )
        self._client = Client(
            ticket.user, "stream", ticket.client, self._watcher, self._watching, time.time(), whole=tuple(ticket.every)
        )
        self._every = {name: list(keys) for name, keys in ticket.every.items()}
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._work: set[asyncio.Future[None]] = set()

    async def run(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Until either side ends it, or it is as old as it may be."""
        await self._send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        lifetime = asyncio.get_running_loop().call_later(LIFETIME_S, self.end, IN_ORDER)
        reader = asyncio.ensure_future(self._listen())
        _open.add(self)
        try:
            await self._open()
            ends: set[asyncio.Future[Any]] = {reader, self._ended}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except DATABASE_AWAY:
            self.end(TRY_AGAIN_LATER)
        except asyncio.CancelledError:  # the server stops, and has waited long enough for us
            self.end(TRY_AGAIN_LATER)
        finally:
            _open.discard(self)
            lifetime.cancel()
            self._hub.clients.discard(self._client)
            self._watching.close()
            self._hub.leave(self._watcher)
            for task in (reader, *self._work):
                task.cancel()
        if self._ended.done():
            await self._close(self._ended.result())

    async def _open(self) -> None:
        ticket = self._ticket
        self._watching.add(ticket.asked, ticket.admitted)
        for name, keys in self._every.items():
            self._hub.watch(self._watcher, [Address(name, key) for key in keys])
        await self._write(f"retry: {RETRY_MS}\n\n")
        await self._tell_refused([address for address in ticket.asked if address not in ticket.admitted])
        await self._write(await self._events.opening(ticket.admitted.values()))
        self._hub.join(self._watcher)
        self._hub.rechecker.add(self._watching)
        self._hub.clients.add(self._client)

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def end(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    async def _close(self, code: int) -> None:
        """Who does not read cannot be told: then the connection just ends with the application."""
        said = json.dumps({"code": code, "reason": REASONS[code]})
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._write(event("end", said, self._events.event_id))
                await self._send({"type": "http.response.body", "body": b""})

    async def _send_frame(self, frame: Frame) -> None:
        try:
            await self._write(await self._events.of(frame.text))
        except DATABASE_AWAY:
            self.end(TRY_AGAIN_LATER)

    async def _tell_refused(self, addresses: Sequence[Address]) -> None:
        if addresses:
            said = json.dumps({"topics": [str(address) for address in addresses]})
            await self._write(event("refused", said, self._events.event_id))

    async def _write(self, text: str) -> None:
        if text:
            await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _look_for_more(self, user: AbstractBaseUser) -> None:
        """What of the topics that are watched whole is there now, and may be watched."""
        for name, before in list(self._every.items()):
            with suppress(*DATABASE_AWAY):
                now = await in_thread(partial(topics()[name].every_key, user))
                if gone := set(before) - set(now):
                    self._hub.unwatch(self._watcher, [Address(name, key) for key in gone])
                if new := set(now) - set(before):
                    self._hub.watch(self._watcher, [Address(name, key) for key in new])
                self._every[name] = now
