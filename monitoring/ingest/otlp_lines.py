"""What OTLP calls resources, scopes and log records, as lines."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from monitoring.ingest.labels import without_port
from monitoring.ingest.log_labels import Said, fields_of, level_by
from monitoring.ingest.log_streams import NO_INSTANT, Streams
from monitoring.ingest.otlp_points import HOST, INSTANCE, SERVICE, short
from monitoring.logs.levels import level_named, level_of_severity
from monitoring.logs.line import MAX_SOURCE, Level
from monitoring.logs.take import Entry, Stream
from portal.toolkit.printable import printable

NO_TIME = "the log record has no time"
SOURCES = (SERVICE, "k8s.container.name", "container.name", "log.file.path", "log.file.name")
"""The first that is there; of a resource, else of the record itself."""

_NO_SERVICE = "unknown_service"
_LATEST_NS = 1 << 63


def decode(request: ExportLogsServiceRequest) -> Streams:
    """The lines of a request, by resource and scope. Raises BadBodyError when it is too much at once."""
    streams = Streams("")
    for resource_logs in request.resource_logs:
        resource = _texts(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            streams.reserve(len(scope_logs.log_records))
            scope = {"scope": scope_logs.scope.name} if scope_logs.scope.name else {}
            stream = streams.start(_said(resource, scope))
            by_source = {stream.said.source: stream}
            for record in scope_logs.log_records:
                _add(streams, by_source, stream, record)
    return streams


def _said(resource: dict[str, str], scope: dict[str, str]) -> Said:
    host = resource.get(HOST, "").strip()
    service = resource.get(INSTANCE) or resource.get(SERVICE) or ""
    label = _source_label(resource)
    stands_in = () if host else (INSTANCE if resource.get(INSTANCE) else SERVICE,)
    fields = {name: text for name, text in resource.items() if name not in {HOST, label, *stands_in}}
    return Said(
        without_port(host), service.strip(), _source(resource.get(label, "")), fields=fields_of({**scope, **fields})
    )


def _source_label(said: dict[str, str]) -> str:
    return next((name for name in SOURCES if said.get(name, "") and not said[name].startswith(_NO_SERVICE)), "")


def _source(text: str) -> str:
    return printable(text.strip(), MAX_SOURCE)


def _add(streams: Streams, by_source: dict[str, Stream], stream: Stream, record: LogRecord) -> None:
    """`by_source` has the streams of the scope: a record may say its source where the resource does not."""
    at_ns = record.time_unix_nano or record.observed_time_unix_nano
    if not 0 < at_ns < _LATEST_NS:
        streams.refusals.add(stream.said.host or stream.said.service, NO_INSTANT if at_ns else NO_TIME)
        return
    fields = _texts(record.attributes)
    level = _level(record, fields)
    if not stream.said.source and (label := _source_label(fields)):
        source = _source(fields.pop(label))
        if source not in by_source:
            by_source[source] = streams.start(stream.said._replace(source=source))
        stream = by_source[source]
    if record.trace_id:
        fields["trace_id"] = record.trace_id.hex()
    if record.span_id:
        fields["span_id"] = record.span_id.hex()
    if record.event_name:
        fields["event_name"] = record.event_name
    stream.entries.append(Entry(at_ns, _body(record), level, fields))


def _level(record: LogRecord, fields: dict[str, str]) -> Level | None:
    """By the number, the word, an attribute; a word that says more than the level is kept as a field."""
    level = level_of_severity(record.severity_number)
    word = record.severity_text.strip()
    if level is None:
        level = level_named(word) if word else level_by(fields)[1]
    if word and (level is None or word.lower() not in {level.word, "warn"}):
        fields["severity_text"] = word
    return level


def _body(record: LogRecord) -> str:
    return _text(record.body) or record.event_name


def _texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key: text for pair in attributes if (text := _text(pair.value))}


def _text(value: AnyValue) -> str:
    """Lists and maps as JSON."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "double_value":
        return short(value.double_value)
    plain = _plain(value)
    return "" if plain is None else plain if isinstance(plain, str) else orjson.dumps(plain, default=str).decode()


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _plain(pair.value) for pair in value.kvlist_value.values}
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return getattr(value, kind) if kind else None
