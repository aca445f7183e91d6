"""How many sockets and streams may be open at once: in this process, and of one person.

Refused before anything is asked of the database when the process is full; after the sign-in when the person is.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

PLACE = "live.place"
"""Where an ASGI scope has its place."""
TOO_MANY, TRY_AGAIN_LATER = 4429, 1013
RETRY_FULL_S, RETRY_PERSON_S = 10, 60
HTTP_ANSWER = "websocket.http.response"
"""The extension of ASGI by which a handshake is answered with a status and headers."""

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(slots=True)
class Place:
    """One of the process's places; whoever took it leaves it, once or more often."""

    places: Places
    person: object = None
    is_left: bool = False

    def sit(self, person: object) -> bool:
        """Count it as that person's; False when they have as many as they may."""
        return self.places._sit(self, person)

    def leave(self) -> None:
        self.places._leave(self)


class Places:
    """Those of this process. May be used by any thread: streams are let in by one, sockets by the loop's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._people: Counter[object] = Counter()
        self.taken = 0

    def take(self) -> Place | None:
        """None when all are taken."""
        with self._lock:
            if self.taken >= settings.LIVE_SOCKETS:
                return None
            self.taken += 1
            return Place(self)

    def of(self, person: object) -> int:
        return self._people[person]

    def _sit(self, place: Place, person: object) -> bool:
        with self._lock:
            if self._people[person] >= settings.LIVE_SOCKETS_PER_PERSON:
                return False
            self._people[person] += 1
            place.person = person
            return True

    def _leave(self, place: Place) -> None:
        with self._lock:
            if place.is_left:
                return
            place.is_left = True
            self.taken -= 1
            if place.person is not None:
                self._people[place.person] -= 1
                if not self._people[place.person]:
                    del self._people[place.person]


places = Places()
"""This process's."""


def seated(application: Application) -> Application:
    """Wrap the sockets: each has a place in its scope, and without one the handshake is answered with 503."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        place = places.take()
        if place is None:
            await receive()
            await _come_back_later(scope, send)
            return
        try:
            await application({**scope, PLACE: place}, receive, send)
        finally:
            place.leave()

    return limited


async def _come_back_later(scope: Scope, send: Send) -> None:
    if HTTP_ANSWER not in (scope.get("extensions") or {}):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
        return
    headers = [(b"retry-after", str(RETRY_FULL_S).encode()), (b"content-type", b"text/plain")]
    await send({"type": f"{HTTP_ANSWER}.start", "status": 503, "headers": headers})
    await send({"type": f"{HTTP_ANSWER}.body", "body": b"As many sockets are open as may be.\n"})
