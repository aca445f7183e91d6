"""The wire format of protobuf, to walk through a message without building one: bodies are mostly repetitions."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_MASK = (1 << 64) - 1
_SIGN = 1 << 63

Field = tuple[int, int, int, int]
"""Number, wire type, and where its content starts and ends; of a VARINT the third is its value."""


class WireError(ValueError):
    """What is there is no message; the text says where and why."""


def varint(data: bytes, place: int, end: int) -> tuple[int, int]:
    """The number at `place`, modulo 2**64, and the place behind it. Raises WireError."""
    value = shift = 0
    start = place
    while place < end and shift < 70:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, place
        shift += 7
    raise WireError(f"byte {start}: " + ("a number has no end" if shift >= 70 else "the message is cut off"))


def encoded_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def signed(value: int) -> int:
    """A VARINT as an int64."""
    return value - (1 << 64) if value & _SIGN else value


def fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in data[start:end], in their order. Raises WireError."""
    place = start
    while place < end:
        tag, content = varint(data, place, end)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise WireError(f"byte {place}: there is no field with the number {number}")
        if wire == VARINT:
            value, after = varint(data, content, end)
            yield number, wire, value, after
        elif wire == BYTES:
            size, content = varint(data, content, end)
            after = content + size
            _check_end(place, after, end)
            yield number, wire, content, after
        elif wire in _WIDTHS:
            after = content + _WIDTHS[wire]
            _check_end(place, after, end)
            yield number, wire, content, after
        else:
            raise WireError(f"byte {place}: there is no wire type {wire}")
        place = after


def _check_end(place: int, after: int, end: int) -> None:
    if after > end:
        raise WireError(f"byte {place}: the message is cut off")
