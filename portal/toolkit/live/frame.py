"""What goes out: encoded, compressed and framed once, however many sockets get it.

A server's websocket frames are not masked, so the bytes of a message are the same for everybody.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cached_property

EXTENSION = "openmanager.frames"
"""Under this name a scope's extensions have what takes whole frames, where the server offers it: `write(frame)`."""

TEXT, COMPRESSED_TEXT = 0x81, 0xC1
WINDOW_BITS = 12
"""4 KiB, more than most fragments: a browser that can take less (permessage-deflate) gets plain frames."""

_FLUSHED = b"\x00\x00\xff\xff"


class Piece:
    """One element's HTML."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def data(self) -> bytes:
        return self.text.encode()

    @cached_property
    def deflated(self) -> bytes:
        return deflated(self.data)


class Frame:
    """One message: pieces, joined by newlines."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces

    @property
    def text(self) -> str:
        return "\n".join(piece.text for piece in self._pieces)

    @cached_property
    def plain(self) -> bytes:
        """As a websocket frame."""
        return framed(TEXT, b"\n".join([piece.data for piece in self._pieces]))

    @cached_property
    def compressed(self) -> bytes:
        """As one of permessage-deflate without context takeover: no work but joining what each piece is."""
        return framed(COMPRESSED_TEXT, _NEWLINE.join([piece.deflated for piece in self._pieces])[: -len(_FLUSHED)])


def deflated(data: bytes) -> bytes:
    """`data` in blocks of DEFLATE that refer to nothing before them and end at a byte: they may be joined."""
    compressor = zlib.compressobj(wbits=-WINDOW_BITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


def framed(head: int, payload: bytes) -> bytes:
    """`payload` as one unmasked, final websocket frame."""
    size = len(payload)
    if size < 126:
        return bytes((head, size)) + payload
    if size < 1 << 16:
        return bytes((head, 126)) + size.to_bytes(2, "big") + payload
    return bytes((head, 127)) + size.to_bytes(8, "big") + payload


_NEWLINE = deflated(b"\n")
