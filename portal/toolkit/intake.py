"""Ways in for programs: an ASGI guard that stands before Django, which would read a whole body before asking anything.

In this order: path, method (405), token (401, 403), length (413), the body counted and timed as it comes (408, 413,
503), then, in one of a few threads, unpacking (413) and the door's own work. What goes wrong with us is 503 with
Retry-After and never 500: senders repeat what got a 5xx, and the portal only says 2xx for what it has kept.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson
import structlog
from django.db import InterfaceError, OperationalError

from portal.toolkit.bodies import (
    UNPACKED,
    BodyError,
    Patience,
    Reading,
    Receive,
    Room,
    SenderGoneError,
    declared_length,
    unpack,
)
from portal.toolkit.pool import FullError, Pool

log = structlog.get_logger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

RETRY_S = 5
THREADS = 4
OPEN_THREADS = 2
"""For the doors that need no token."""
QUEUED = 64
LOOK_UPS = 200
BYTES_WAITING = 64 << 20
GRANT_FOR_S = 10.0
NO_GRANT_FOR_S = 1.0
GRANTS_KEPT = 10_000
LINGER_BYTES = 64 << 20
RAW = frozenset({"snappy"})
"""Content codings that a door unpacks itself."""
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Push:
    """A request whose body has come whole. `headers` and `query` have the last of repeated names; header names are in
    lower case. `body` is unpacked, but for snappy. `parts` are the named groups of the door's path.
    """

    path: str
    headers: Mapping[str, str]
    body: bytes
    client: str
    query: Mapping[str, str]
    method: str = "POST"
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """A dict becomes JSON."""

    status: int
    body: bytes | dict[str, Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Door:
    """One way in. `handler` gets the push and what the token grants (None without `needs_token`), in a thread of its
    own with its own database connection; it may raise OperationalError. `path` is a text or a pattern of the whole.
    """

    path: str | re.Pattern[str]
    methods: Sequence[str]
    handler: Callable[[Push, Any], Answer]
    max_bytes: int
    max_decompressed: int
    needs_token: bool = True
    too_slow: int = 408
    """What a sender is told whose body did not come in time; 503 where 408 means "never again" to its kind."""

    def match(self, path: str) -> Mapping[str, str] | None:
        if isinstance(self.path, str):
            return {} if path == self.path else None
        found = self.path.fullmatch(path)
        return {name: text for name, text in found.groupdict().items() if text is not None} if found else None


class ForbiddenError(Exception):
    """The token is known and may not do this; the message says why."""


def failure(status: int, code: str, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> Answer:
    """An error as every door tells it: a word for programs, words for people, and when."""
    body = {
        "error": code,
        "message": message,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **more,
    }
    return Answer(status, body, headers or {})


def unavailable(code: str, message: str) -> Answer:
    return failure(503, code, message, {"retry-after": str(RETRY_S)})


class Intake:
    """The ASGI application of `doors`; other paths go to `otherwise`.

    `grant_of` looks a token's text up, None when nobody knows it; it may raise ForbiddenError and OperationalError.
    What it said counts for GRANT_FOR_S seconds.
    """

    def __init__(
        self,
        doors: Sequence[Door],
        grant_of: Callable[[str], object | None],
        otherwise: Application | None = None,
        *,
        behind_proxy: bool = False,
        patience: Patience | None = None,
        bytes_waiting: int = BYTES_WAITING,
        queued: int = QUEUED,
    ) -> None:
        self._doors = doors
        self._grant_of = grant_of
        self._otherwise = otherwise
        self._behind_proxy = behind_proxy
        self._patience = patience or Patience()
        self._room = Room(bytes_waiting)
        # Who comes without a token has a room and threads apart: strangers must not keep out those who have one.
        self._open_room = Room(bytes_waiting // 8)
        self._queued = queued
        self._grants: dict[bytes, tuple[float, object]] = {}
        self._working = Pool(THREADS, queued, "intake")
        self._working_open = Pool(OPEN_THREADS, queued, "intake-open")
        self._looking_up = Pool(2, LOOK_UPS, "intake-token")

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/") or "/"
        for door in self._doors:
            parts = door.match(path)
            if parts is not None:
                await self._serve(door, parts, scope, receive, send)
                return
        if self._otherwise is not None:
            await self._otherwise(scope, receive, send)
            return
        await _send(failure(404, "not_found", "there is nothing at this path"), scope, send)

    async def _serve(self, door: Door, parts: Mapping[str, str], scope: Any, receive: Receive, send: Send) -> None:
        reading = Reading(self._room if door.needs_token else self._open_room, door.max_bytes, self._patience)
        try:
            answer = await self._answer(door, parts, scope, receive, reading)
            await _send(answer, scope, send)
        except SenderGoneError:
            return
        except BodyError as error:
            status = door.too_slow if error.status == 408 else error.status
            headers = {"retry-after": str(RETRY_S)} if status == 503 else {}
            refused = failure(status, error.code, str(error), headers)
            await _send_and_linger(refused, scope, receive, send, self._patience.linger_s)
        except _RefusedError as error:
            await _send_and_linger(error.answer, scope, receive, send, self._patience.linger_s)
        finally:
            reading.give_back()

    async def _answer(
        self, door: Door, parts: Mapping[str, str], scope: Any, receive: Receive, reading: Reading
    ) -> Answer:
        """Raises _RefusedError and BodyError before the whole body was read; then the connection must be closed."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] not in door.methods:
            allow = {"allow": ", ".join(door.methods)}
            raise _RefusedError(failure(405, "wrong_method", f"use {' or '.join(door.methods)}", allow))
        grant = await self._grant(token_of(headers)) if door.needs_token else None
        coding = headers.get("content-encoding", "").strip().lower()
        if coding not in UNPACKED | RAW:
            accept = {"accept-encoding": "gzip, deflate, identity"}
            raise _RefusedError(failure(415, "wrong_encoding", "the body may be packed by gzip or deflate", accept))
        declared_length(headers, door.max_bytes)
        body = await reading.read(receive)
        query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1")))
        client = self._client(scope, headers)

        def work() -> Answer:
            plain = body if coding in RAW else unpack(body, coding, door.max_decompressed)
            return door.handler(Push(scope["path"], headers, plain, client, query, scope["method"], parts), grant)

        try:
            return await (self._working if door.needs_token else self._working_open).run(work)
        except BodyError as error:
            return failure(error.status, error.code, str(error))
        except (OperationalError, InterfaceError):
            return unavailable("database_away", "the portal cannot keep anything at the moment; send it again")
        except FullError:
            return unavailable("busy", "too much is coming in at once; send it again later")
        except Exception:
            log.exception("intake_broken", path=str(door.path))
            return unavailable("broken", "the portal could not take this; send it again later")

    async def _grant(self, text: str) -> object:
        """What the token grants. Raises _RefusedError."""
        if not text:
            raise _RefusedError(_unauthorized("a token is needed: Authorization: Bearer …"))
        key = hashlib.sha256(text.encode("latin-1", "replace")).digest()
        until, grant = self._grants.get(key, (0.0, None))
        if until <= time.monotonic():
            grant = await self._look_up(text)
            if len(self._grants) >= GRANTS_KEPT:
                self._grants.clear()
            known_for_s = NO_GRANT_FOR_S if grant is None or isinstance(grant, ForbiddenError) else GRANT_FOR_S
            self._grants[key] = (time.monotonic() + known_for_s, grant)
        if grant is None:
            raise _RefusedError(_unauthorized("nobody knows this token"))
        if isinstance(grant, ForbiddenError):
            raise _RefusedError(failure(403, "forbidden", str(grant)))
        return grant

    async def _look_up(self, text: str) -> object:
        try:
            return await self._looking_up.run(lambda: self._grant_of(text))
        except ForbiddenError as error:
            return error
        except (OperationalError, InterfaceError):
            raise _RefusedError(unavailable("database_away", "the portal cannot check tokens at the moment")) from None
        except FullError:
            raise _RefusedError(unavailable("busy", "too many tokens are being looked up")) from None
        except Exception:
            log.exception("intake_token_broken")
            raise _RefusedError(unavailable("broken", "the portal cannot check tokens at the moment")) from None

    def _client(self, scope: Any, headers: Mapping[str, str]) -> str:
        if self._behind_proxy and (forwarded := headers.get("x-forwarded-for")):
            return forwarded.rpartition(",")[2].strip()[:64]
        client = scope.get("client")
        return str(client[0]) if client else ""


class _RefusedError(Exception):
    """An answer that is known before the body was read."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def token_of(headers: Mapping[str, str]) -> str:
    """The token's text from Authorization (Bearer, or the password of Basic) or X-OpenManager-Token; "" for none."""
    scheme, _, rest = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return headers.get("x-openmanager-token", "").strip()


def _unauthorized(message: str) -> Answer:
    return failure(401, "unauthorized", message, {"www-authenticate": 'Bearer realm="OpenManager"'})


async def _send(answer: Answer, scope: Any, send: Send) -> None:
    body = await _start(answer, scope, send, {})
    await send({"type": "http.response.body", "body": body})


async def _send_and_linger(answer: Answer, scope: Any, receive: Receive, send: Send, linger_s: float) -> None:
    """Answer at once, and only then close: a connection that is closed with bytes unread is reset, and the sender, who
    is still writing, would never see the answer.
    """
    body = await _start(answer, scope, send, {"connection": "close"})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    try:
        async with asyncio.timeout(linger_s):
            thrown_away = 0
            while thrown_away < LINGER_BYTES:
                message = await receive()
                thrown_away += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b""})


async def _start(answer: Answer, scope: Any, send: Send, more: Mapping[str, str]) -> bytes:
    """Send the head; the body that belongs to it, which a HEAD does not get."""
    body = orjson.dumps(answer.body) if isinstance(answer.body, dict) else answer.body
    headers = {
        "content-type": answer.content_type,
        "content-length": str(len(body)),
        **HEADERS,
        **answer.headers,
        **more,
    }
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    return b"" if scope["method"] == "HEAD" else body
