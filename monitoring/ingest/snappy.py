"""Bodies in snappy's block format, judged by what they say of their length before anything is unpacked."""

from __future__ import annotations

import cramjam

from monitoring.ingest.points import BadBodyError
from monitoring.ingest.protobuf import WireError, varint

MOST_PACKED = 24
"""Times that snappy makes something smaller, at most: an element of 3 bytes stands for 64."""


def unpacked(body: bytes, most: int) -> bytes:
    """The content of a snappy block, at most `most` bytes. Raises BadBodyError."""
    if body.startswith(b"\xff\x06\x00\x00sNaPpY"):
        raise BadBodyError("the body is framed snappy; the block format is needed")
    try:
        size, _after = varint(body, 0, min(len(body), 10))
    except WireError:
        raise BadBodyError("the body is not a snappy block: its length is cut off") from None
    if size > most:
        raise BadBodyError(f"unpacked, the body would have more than {most >> 20} MiB", 413)
    if size > MOST_PACKED * len(body):
        raise BadBodyError("the body is not a snappy block: it says that it is longer than it can be")
    try:
        plain = bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError:
        raise BadBodyError("the body is not a whole snappy block") from None
    if len(plain) != size:
        raise BadBodyError("the body is not a snappy block: it says another length than it has")
    return plain
