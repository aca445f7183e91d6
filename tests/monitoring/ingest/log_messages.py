"""PushRequests of Loki as their senders write them, byte by byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monitoring.ingest.protobuf import encoded_varint
from tests.monitoring.ingest.messages import field

PROTOBUF = {"content_type": "application/x-protobuf"}


def pair(name: str, text: str) -> bytes:
    return field(1, name.encode()) + field(2, text.encode())


def entry(at_ns: int, text: str | bytes, more: Mapping[str, str] | None = None) -> bytes:
    """As Go writes it: numbers that are 0 are left out."""
    seconds, nanoseconds = divmod(at_ns, 1_000_000_000)
    stamp = b"".join(
        bytes([number << 3]) + encoded_varint(value & (1 << 64) - 1)
        for number, value in ((1, seconds), (2, nanoseconds))
        if value
    )
    line = text.encode() if isinstance(text, str) else text
    metadata = b"".join(field(3, pair(name, value)) for name, value in (more or {}).items())
    return field(2, field(1, stamp) + field(2, line) + metadata)


def stream(labels: str | bytes, *entries: bytes) -> bytes:
    return field(1, field(1, labels.encode() if isinstance(labels, str) else labels) + b"".join(entries))


def lines(at_ns: int, texts: Iterable[str]) -> list[bytes]:
    return [entry(at_ns + number, text) for number, text in enumerate(texts)]
