"""Loki's push in JSON: {"streams": [{"stream": {labels}, "values": [["nanoseconds", "line", {fields}], …]}, …]}."""

from __future__ import annotations

from typing import Any

from monitoring.ingest.json_body import parse
from monitoring.ingest.log_streams import NO_INSTANT, Labelled, Streams
from monitoring.ingest.points import BadBodyError
from monitoring.logs.take import Stream

NO_STREAM = "a stream is an object with stream (its labels) and values"
NO_VALUE = 'a value is a list: "nanoseconds", "line", and fields if there are any'
NO_LABELS = "labels are an object of texts"


def decode(body: bytes, host_label: str) -> Streams:
    """Raises BadBodyError when it is no JSON, or no push."""
    said = parse(body)
    if not isinstance(said, dict) or not isinstance(said.get("streams"), list):
        raise BadBodyError('the body is not a push: an object with a list of "streams" is needed')
    streams = Streams(host_label)
    for number, each in enumerate(said["streams"]):
        _read_stream(streams, each, f"streams[{number}]")
    return streams


def _read_stream(streams: Streams, said: Any, where: str) -> None:
    values = said.get("values") if isinstance(said, dict) else None
    if not isinstance(values, list):
        streams.reserve(1)
        streams.refusals.add(where, NO_STREAM)
        return
    streams.reserve(len(values))
    labels = said.get("stream", {})
    if not _are_texts(labels):
        streams.refusals.add(where, NO_LABELS, max(1, len(values)))
        return
    labelled = streams.labelled(labels)
    stream = streams.start(labelled.said)
    for number, value in enumerate(values):
        _read_value(streams, stream, labelled, value, where, number)


def _read_value(streams: Streams, stream: Stream, labelled: Labelled, value: Any, where: str, number: int) -> None:
    more: Any = {}
    match value:
        case [at, str(text)]:
            pass
        case [at, str(text), more] if _are_texts(more):
            pass
        case _:
            streams.refusals.add(f"{where}.values[{number}]", NO_VALUE)
            return
    at_ns = _nanoseconds(at)
    if at_ns is None:
        streams.refusals.add(f"{where}.values[{number}]", NO_INSTANT)
    else:
        streams.add(stream, labelled, at_ns, text, more)


def _are_texts(said: Any) -> bool:
    return isinstance(said, dict) and all(isinstance(text, str) for text in said.values())


def _nanoseconds(at: Any) -> int | None:
    if isinstance(at, str) and at.isascii() and at.isdecimal() and len(at) < 20:
        return int(at)
    return at if type(at) is int else None
