"""Bodies of requests as they come over the wire: counted, timed and unpacked, never larger than what was allowed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]

UNPACKED = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
PIECE = 1 << 20
MEMBERS = 64
"""Of one gzip body. Each costs a copy of all that follows it, so a body of a million empty ones would take an hour."""


class BodyError(Exception):
    """What is wrong with how a body came: the status to answer, a word for programs, words for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class SenderGoneError(Exception):
    """Nobody is there to be answered."""


@dataclass
class Room:
    """How many bytes may wait in memory, of all bodies together. Only the event loop touches it."""

    most: int
    taken: int = 0

    def take(self, size: int) -> None:
        """Raises BodyError (503) when there is no room."""
        if self.taken + size > self.most:
            raise BodyError(503, "busy", "too much is coming in at once; send it again later")
        self.taken += size


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a sender may take for its whole body, for the next piece of it, and to read that it was refused."""

    whole_s: float = 60.0
    piece_s: float = 10.0
    linger_s: float = 2.0


@dataclass
class Reading:
    """One body on its way in; `held` are its bytes in `room`, which whoever reads gives back."""

    room: Room
    most: int
    patience: Patience
    held: int = 0

    async def read(self, receive: Receive) -> bytes:
        """Raises BodyError (408, 413, 503) and SenderGoneError."""
        pieces = []
        clock = asyncio.get_running_loop()
        deadline = clock.time() + self.patience.whole_s
        while True:
            wait_s = min(self.patience.piece_s, deadline - clock.time())
            try:
                message = await asyncio.wait_for(receive(), max(wait_s, 0.001))
            except TimeoutError:
                raise BodyError(408, "too_slow", "the body did not come in time") from None
            if message["type"] == "http.disconnect":
                raise SenderGoneError
            piece: bytes = message.get("body", b"")
            if self.held + len(piece) > self.most:
                raise BodyError(413, "too_large", too_large(self.most))
            self.room.take(len(piece))
            self.held += len(piece)
            pieces.append(piece)
            if not message.get("more_body", False):
                return b"".join(pieces)

    def give_back(self) -> None:
        self.room.taken -= self.held
        self.held = 0


def declared_length(headers: dict[str, str], most: int) -> None:
    """Raises BodyError when Content-Length makes no sense (400) or says too much (413)."""
    text = headers.get("content-length", "")
    if text and not (text.isascii() and text.isdecimal()):
        raise BodyError(400, "bad_length", "Content-Length is no number")
    if text and int(text[:20]) > most:
        raise BodyError(413, "too_large", too_large(most))


def too_large(most: int, *, unpacked: bool = False) -> str:
    return f"the body is larger than {most:,} bytes" + (" when it is unpacked" if unpacked else "")


def unpack(body: bytes, coding: str, most: int) -> bytes:
    """`body` as it was before `coding` (one of UNPACKED) packed it. Raises BodyError: 400 when it is broken or cut, 413
    as soon as there are more than `most` bytes; memory never holds more than that and a piece.
    """
    if coding in {"", "identity"}:
        if len(body) > most:
            raise BodyError(413, "too_large", too_large(most))
        return body
    try:
        return _inflate(body, _window(body, coding), most)
    except zlib.error as error:
        raise BodyError(400, "bad_encoding", f"the body is not valid {coding}: {error}") from None


def _window(body: bytes, coding: str) -> int:
    """zlib's wbits. What is called deflate comes with zlib's head, or without."""
    if "gzip" in coding:
        return zlib.MAX_WBITS | 16
    with_head = len(body) > 1 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return zlib.MAX_WBITS if with_head else -zlib.MAX_WBITS


def _inflate(body: bytes, window: int, most: int) -> bytes:
    out = bytearray()
    rest = body
    for _member in range(MEMBERS):
        rest = _inflate_one(zlib.decompressobj(window), rest, out, most)
        if not rest or window <= zlib.MAX_WBITS:  # only gzip may go on with another member
            return bytes(out)
    raise BodyError(400, "bad_encoding", f"the packed body has more than {MEMBERS} members")


def _inflate_one(stream: zlib._Decompress, rest: bytes, out: bytearray, most: int) -> bytes:
    """Append what the stream at the start of `rest` unpacks to; returns what follows it."""
    while not stream.eof:
        piece = stream.decompress(rest, min(PIECE, most - len(out) + 1))
        out += piece
        if len(out) > most:
            raise BodyError(413, "too_large", too_large(most, unpacked=True))
        rest = stream.unconsumed_tail
        if not rest and not piece and not stream.eof:
            raise BodyError(400, "bad_encoding", "the packed body is cut off")
    return stream.unused_data
