"""Loki's PushRequest in protobuf: read without building messages, as most of it is texts of lines.

Field numbers: PushRequest 1 streams; Stream 1 labels, 2 entries; Entry 1 timestamp, 2 line, 3 structured metadata;
Timestamp 1 seconds, 2 nanoseconds; a pair of the metadata 1 name, 2 value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from monitoring.ingest.log_streams import REMEMBERED, Labelled, Streams
from monitoring.ingest.points import BadBodyError
from monitoring.ingest.protobuf import BYTES, VARINT, WireError, fields, signed
from monitoring.logs.take import Stream

NO_LABELS = 'the labels cannot be read; they are written as {name="value"}'
BROKEN = "the line cannot be read as protobuf"

_LABEL = re.compile(r'\s*([^\s="{},]{1,1000})\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|$)', re.S)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.S)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class LabelsError(ValueError):
    """These are no labels."""


def decode(plain: bytes, host_label: str) -> Streams:
    """The lines of a PushRequest. Raises BadBodyError when it is none, or too much at once."""
    reader = _Reader(plain, host_label)
    understood = not plain
    try:
        for number, wire, start, stop in fields(plain, 0, len(plain)):
            if number == 1 and wire == BYTES:
                reader.read_stream(start, stop)
                understood = True
    except WireError as error:
        raise BadBodyError(f"the body is not a PushRequest: {error}") from None
    if not understood:
        raise BadBodyError("the body is not a PushRequest: it has no streams")
    return reader.streams


def labels_of(text: bytes) -> Mapping[str, str]:
    """`{job="nginx", host="web-1"}` as Loki writes labels. Raises LabelsError."""
    return _parsed(text) if len(text) < REMEMBERED else _parsed.__wrapped__(text)


@lru_cache(maxsize=4096)
def _parsed(text: bytes) -> Mapping[str, str]:
    inside = text.decode("utf-8", "replace").strip()
    if not (inside.startswith("{") and inside.endswith("}")):
        raise LabelsError
    inside = inside[1:-1].strip()
    labels: dict[str, str] = {}
    place = 0
    while place < len(inside):
        found = _LABEL.match(inside, place)
        if not found:
            raise LabelsError
        labels[found[1]] = _ESCAPE.sub(_unescaped, found[2])
        place = found.end()
    return labels


class _Reader:
    """Reads a PushRequest once."""

    def __init__(self, data: bytes, host_label: str) -> None:
        self._data = data
        self.streams = Streams(host_label)

    def read_stream(self, start: int, stop: int) -> None:
        """Raises WireError and BadBodyError."""
        labels, places = b"", []
        for number, wire, first, last in fields(self._data, start, stop):
            if number == 2 and wire == BYTES:
                places.append((first, last))
            elif number == 1 and wire == BYTES:
                labels = self._data[first:last]
        self.streams.reserve(len(places))
        try:
            labelled = self.streams.labelled(labels_of(labels))
        except LabelsError:
            self.streams.refusals.add(_shown(labels), NO_LABELS, max(1, len(places)))
            return
        stream = self.streams.start(labelled.said)
        for first, last in places:
            try:
                self._read_entry(stream, labelled, first, last)
            except WireError:
                self.streams.refusals.add(_shown(labels), BROKEN)

    def _read_entry(self, stream: Stream, labelled: Labelled, start: int, stop: int) -> None:
        at_ns, text, more = 0, "", {}
        for number, wire, first, last in fields(self._data, start, stop):
            if wire != BYTES:
                continue
            if number == 1:
                at_ns = self._instant_ns(first, last)
            elif number == 2:
                text = self._text(first, last)
            elif number == 3:
                name, value = self._pair(first, last)
                more[name] = value
        self.streams.add(stream, labelled, at_ns, text, more)

    def _instant_ns(self, start: int, stop: int) -> int:
        seconds = nanoseconds = 0
        for number, wire, value, _last in fields(self._data, start, stop):
            if number == 1 and wire == VARINT:
                seconds = signed(value)
            elif number == 2 and wire == VARINT:
                nanoseconds = signed(value)
        return seconds * 1_000_000_000 + nanoseconds

    def _pair(self, start: int, stop: int) -> tuple[str, str]:
        name = text = ""
        for number, wire, first, last in fields(self._data, start, stop):
            if number == 1 and wire == BYTES:
                name = self._text(first, last)
            elif number == 2 and wire == BYTES:
                text = self._text(first, last)
        return name, text

    def _text(self, start: int, stop: int) -> str:
        return self._data[start:stop].decode("utf-8", "replace")


def _unescaped(found: re.Match[str]) -> str:
    number = found[1] or found[2] or found[3]
    if number or found[4]:
        code = int(number, 16) if number else int(found[4], 8)
        return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\N{REPLACEMENT CHARACTER}"
    return _LETTERS.get(found[5], found[5])


def _shown(labels: bytes) -> str:
    return labels[:200].decode("utf-8", "replace") or "a stream"
