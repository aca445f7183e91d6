"""One request to an ASGI application, without a server between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes
    read: int
    """How many bytes of the body were asked for before the answer."""

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    application: Callable[..., Any],
    method: str,
    path: str,
    body: bytes | Sequence[bytes] = b"",
    headers: dict[str, str] | None = None,
    *,
    pause_s: float = 0.0,
    hangs: bool = False,
) -> Answered:
    """The body comes in the given pieces, each after a pause; `hangs`: nothing follows the last, not even its end."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    encoded = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": encoded,
        "client": ("10.0.0.7", 40000),
    }
    return asyncio.run(_ask(application, scope, pieces, pause_s, hangs))


async def _ask(
    application: Callable[..., Any], scope: dict[str, Any], pieces: Sequence[bytes], pause_s: float, hangs: bool
) -> Answered:
    sent: list[dict[str, Any]] = []
    coming = _messages(pieces, hangs)
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        await asyncio.sleep(pause_s)
        message = next(coming, None)
        if message is None:
            if hangs:
                await asyncio.sleep(3600)
            return {"type": "http.disconnect"}
        if not sent:
            read += len(message["body"])
        return message

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    headers = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answered(sent[0]["status"], headers, b"".join(each.get("body", b"") for each in sent[1:]), read)


def _messages(pieces: Sequence[bytes], hangs: bool) -> Iterator[dict[str, Any]]:
    for number, piece in enumerate(pieces, 1):
        yield {"type": "http.request", "body": piece, "more_body": hangs or number < len(pieces)}
