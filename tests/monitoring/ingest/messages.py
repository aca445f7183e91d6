"""WriteRequests of remote_write as their senders write them, byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

import cramjam

from monitoring.ingest.protobuf import encoded_varint

Samples = Iterable[tuple[float, int]]
Labels = Mapping[str, str] | Iterable[tuple[str | bytes, str | bytes]]

STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]
HEADERS = {"content-type": "application/x-protobuf", "content-encoding": "snappy"}


def field(number: int, content: bytes) -> bytes:
    return encoded_varint(number << 3 | 2) + encoded_varint(len(content)) + content


def label(name: str | bytes, text: str | bytes) -> bytes:
    encoded = [part.encode() if isinstance(part, str) else part for part in (name, text)]
    return field(1, field(1, encoded[0]) + field(2, encoded[1]))


def sample(value: float, at_ms: int) -> bytes:
    """As Prometheus writes it: numbers that are 0 are left out."""
    packed = struct.pack("<d", value)
    number = b"" if packed == bytes(8) else b"\x09" + packed
    return field(2, number + (b"\x10" + encoded_varint(at_ms & (1 << 64) - 1) if at_ms else b""))


def series(labels: Labels, samples: Samples, more: bytes = b"") -> bytes:
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    named = b"".join(label(name, text) for name, text in pairs)
    return field(1, named + b"".join(sample(value, at_ms) for value, at_ms in samples) + more)


def metadata(kind: int, family: str) -> bytes:
    return field(3, bytes([1 << 3, kind]) + field(2, family.encode()))


def packed(message: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(message))
