"""Numbers as few bytes, to the last bit: pcodec, which finds the resolution and the rhythm of a series by itself."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone

from monitoring.history.frame import Floats

Ints = NDArray[np.int64]

_CONFIG = ChunkConfig()
_LENGTH = struct.Struct("<I")


def pack(numbers: Floats | Ints) -> bytes:
    """`numbers`, at least one, as bytes that `unpack_floats` or `unpack_ints` gives back to the last bit."""
    packed: bytes = standalone.simple_compress(np.ascontiguousarray(numbers), _CONFIG)
    return packed


def unpack_floats(packed: bytes) -> Floats:
    numbers: Floats = standalone.simple_decompress(packed)
    return numbers


def unpack_ints(packed: bytes) -> Ints:
    numbers: Ints = standalone.simple_decompress(packed)
    return numbers


def join(columns: Sequence[bytes]) -> bytes:
    """Several packed columns as one."""
    return b"".join(_LENGTH.pack(len(column)) + column for column in columns)


def split(joined: bytes) -> list[bytes]:
    """What `join` was given."""
    columns, place = [], 0
    while place < len(joined):
        (length,) = _LENGTH.unpack_from(joined, place)
        place += _LENGTH.size + length
        columns.append(joined[place - length : place])
    return columns
