"""OTLP logs over HTTP: records land as lines, as protobuf and as JSON, and answers are as the protocol has them."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from monitoring.ingest import otlp_logs
from monitoring.ingest.otlp_lines import decode
from monitoring.ingest.points import BadBodyError
from monitoring.logs.line import KeptLine, Level
from monitoring.models import PushToken, Server
from tests.monitoring.ingest.conftest import Heard, push
from tests.monitoring.ingest.test_otlp import attributes
from tests.monitoring.logs.conftest import kept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

NOW = time.time_ns() - 60_000_000_000
RESOURCE = {"host.name": "web-1", "service.name": "shop", "os.type": "linux"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def record(body: Any = "it works", **more: Any) -> dict[str, Any]:
    said = {"stringValue": body} if isinstance(body, str) else body
    return {"timeUnixNano": str(NOW), "body": said, **more}


def exported(*records: Any, resource: dict[str, Any] | None = None, scope: str = "") -> dict[str, Any]:
    """A request in the JSON form."""
    named = {"attributes": attributes(RESOURCE if resource is None else resource)}
    return {"resourceLogs": [{"resource": named, "scopeLogs": [{"scope": {"name": scope}, "logRecords": [*records]}]}]}


def message(said: dict[str, Any]) -> bytes:
    body: bytes = ParseDict(said, ExportLogsServiceRequest()).SerializeToString()
    return body


def send(token: PushToken, said: Any) -> Heard:
    return push(token, said, "/v1/logs", content_type="application/json")


def send_protobuf(token: PushToken, said: dict[str, Any] | bytes) -> Heard:
    body = said if isinstance(said, bytes) else message(said)
    return push(token, body, "/v1/logs", content_type="application/x-protobuf")


def the_line() -> KeptLine:
    [line] = kept()
    return line


@pytest.mark.parametrize("way", [send, send_protobuf], ids=["JSON", "protobuf"])
def test_a_record_lands(token: PushToken, way: Any) -> None:
    more = {"severityNumber": 13, "severityText": "WARN", "attributes": attributes({"user": "7"})}
    assert way(token, exported(record("slow", **more), scope="shop.cart")).status == 200
    line = the_line()
    assert (line.position.at_ns, line.text, line.level, line.source) == (NOW, "slow", Level.WARNING, "shop")
    assert line.fields == {"scope": "shop.cart", "os.type": "linux", "user": "7"}
    assert Server.objects.get(pk=line.server_id).name == "web-1"


def test_ids_of_traces_are_kept_as_they_are_written(token: PushToken) -> None:
    send(token, exported(record(traceId=TRACE, spanId=SPAN)))
    assert {name: the_line().fields[name] for name in ("trace_id", "span_id")} == {"trace_id": TRACE, "span_id": SPAN}


def test_an_id_that_is_none_is_left_out(token: PushToken) -> None:
    assert send(token, exported(record(traceId="zz!"))).status == 200
    assert "trace_id" not in the_line().fields


@pytest.mark.parametrize(
    ("more", "level", "word"),
    [
        ({"severityNumber": "SEVERITY_NUMBER_FATAL", "severityText": "Critical"}, Level.ERROR, "Critical"),
        ({"severityNumber": 5}, Level.DEBUG, None),
        ({"severityText": "error"}, Level.ERROR, None),
        ({"severityText": "loud", "body": {"stringValue": "[warn] x"}}, Level.WARNING, "loud"),
        ({"attributes": attributes({"level": "debug"})}, Level.DEBUG, None),
        ({}, Level.INFO, None),
    ],
)
def test_a_severity_is_a_level(token: PushToken, more: dict[str, Any], level: Level, word: str | None) -> None:
    assert send(token, exported(record() | more)).status == 200
    assert (the_line().level, the_line().fields.get("severity_text")) == (level, word)


@pytest.mark.parametrize(
    ("resource", "host", "source"),
    [
        ({"host.name": "a"}, "a", ""),
        ({"service.name": "shop"}, "shop", "shop"),
        ({"service.name": "shop", "service.instance.id": "i-7"}, "i-7", "shop"),
        ({"host.name": "a", "service.name": "unknown_service:python"}, "a", ""),
    ],
)
def test_the_resource_names_server_and_source(
    token: PushToken, resource: dict[str, str], host: str, source: str
) -> None:
    assert send(token, exported(record(), resource=resource)).status == 200
    assert (Server.objects.get(pk=the_line().server_id).name, the_line().source) == (host, source)


def test_a_record_may_say_its_source(token: PushToken) -> None:
    files = [record(path, attributes=attributes({"log.file.path": path})) for path in ("/a.log", "/b.log")]
    assert send(token, exported(*files, resource={"host.name": "a"})).status == 200
    assert {line.source: line.text for line in kept()} == {"/a.log": "/a.log", "/b.log": "/b.log"}


def test_a_body_of_any_type_is_text(token: PushToken) -> None:
    bodies = [
        {"kvlistValue": {"values": attributes({"msg": "x", "n": {"intValue": "5"}})}},
        {"arrayValue": {"values": [{"boolValue": True}, {}, {"doubleValue": 0.5}]}},
        {"bytesValue": "AAE="},
        {"doubleValue": 5},
        {"intValue": "-7"},
        {},
    ]
    assert send(token, exported(*[record(body, eventName="e") for body in bodies])).status == 200
    assert {line.text for line in kept()} == {'{"msg":"x","n":5}', "[true,null,0.5]", "AAE=", "5", "-7", "e"}


def test_without_a_time_when_it_was_observed_counts(token: PushToken) -> None:
    said = record() | {"timeUnixNano": "0", "observedTimeUnixNano": str(NOW + 5)}
    assert send(token, exported(said)).status == 200
    assert the_line().position.at_ns == NOW + 5


def test_the_same_request_twice_counts_once(token: PushToken) -> None:
    for way in (send, send, send_protobuf):
        way(token, exported(record(), record(), record("other")))
    assert sorted(line.text for line in {line.position: line for line in kept()}.values()) == [
        "it works",
        "it works",
        "other",
    ]


# --- Answers ----------------------------------------------------------------------------------------------------------
BAD = [
    (record() | {"timeUnixNano": "0"}, "the log record has no time"),
    (record() | {"timeUnixNano": "5"}, "older than the retention"),
    (record() | {"timeUnixNano": "4102444800000000000"}, "more than 5 minutes in the future"),
    (record() | {"timeUnixNano": str(1 << 63)}, "the instant is no number"),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=["no time", "1970", "2100", "2262"])
def test_a_part_that_is_refused_is_told_as_partial_success(token: PushToken, bad: Any, reason: str) -> None:
    answer = send(token, exported(record(), bad))
    assert (answer.status, answer.body["kept"]) == (200, 1)
    assert answer.body["partialSuccess"]["rejectedLogRecords"] == "1"
    answer = send_protobuf(token, exported(record(), bad))
    partial = ExportLogsServiceResponse.FromString(answer.body).partial_success
    assert (partial.rejected_log_records, reason in partial.error_message) == (1, True)


def test_where_nothing_was_taken_the_answer_is_400_with_a_status(token: PushToken) -> None:
    said = exported(BAD[0][0])
    answer = send(token, said)
    assert (answer.status, answer.body["code"]) == (400, 3)
    answer = send_protobuf(token, said)
    assert (answer.status, answer.content_type) == (400, "application/x-protobuf")
    assert b"has no time" in bytes(answer.body)


def test_a_request_without_records_is_fine(token: PushToken) -> None:
    assert send(token, {}).status == send_protobuf(token, b"").status == send(token, exported()).status == 200


@pytest.mark.parametrize("headers", [{}, {"content_type": "text/plain"}, {"content_type": "application/grpc"}])
def test_another_type_of_body_is_415(token: PushToken, headers: dict[str, str]) -> None:
    assert push(token, b"{}", "/v1/logs", **headers).status == 415


# --- Bad input --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["a\0b", "\x1b[31mred", "abc\u202e", "<script>", "x" * (1 << 20), "디스크"])
def test_strange_text_is_kept_as_it_came(token: PushToken, text: str) -> None:
    assert send_protobuf(token, exported(record(text, attributes=attributes({"a": text[:1000]})))).status == 200
    assert (the_line().text, the_line().fields["a"]) == (text[:65_536], text[:1000])


def test_bytes_that_are_no_utf8_cost_only_themselves(token: PushToken) -> None:
    said = message(exported(record("good"), record("caf#", attributes=attributes({"#": "#"}))))
    assert send_protobuf(token, said.replace(b"#", b"\xe9")).status == 200
    assert {(line.text, line.fields.get("\ufffd")) for line in kept()} == {("good", None), ("caf\ufffd", "\ufffd")}


def test_half_a_surrogate_pair_costs_only_itself(token: PushToken) -> None:
    assert send(token, json.dumps(exported(record("good"), record("half \ud800"))).encode()).status == 200
    assert {line.text for line in kept()} == {"good", "half \ufffd"}


def test_a_resource_that_no_server_can_be_called_costs_no_other(token: PushToken) -> None:
    said = exported(record("bad"), resource={"host.name": "a\0b"})
    said["resourceLogs"] += exported(record("good"))["resourceLogs"]
    answer = send(token, said)
    assert (answer.status, answer.body["kept"], answer.body["refused_count"]) == (200, 1, 1)
    assert the_line().text == "good"


def test_every_truncation_is_refused() -> None:
    said = exported(record(traceId="", attributes=attributes({"a": "b"})))
    body = message(said)
    for length in range(1, len(body)):
        with pytest.raises(BadBodyError):
            otlp_logs.from_protobuf(body[:length])
    text = json.dumps(said).encode()
    for length in range(len(text)):
        with pytest.raises(BadBodyError):
            otlp_logs.from_json(text[:length])


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"resourceLogs": 5}',
        b'{"resourceLogs": [5]}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": 5}]}]}]}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": [1], "body": 5}]}]}]}',
        b"[]",
        b"5",
        b"\xff\xfe",
    ],
)
def test_json_that_is_none_is_400_with_words(token: PushToken, body: bytes) -> None:
    answer = send(token, body)
    assert answer.status == 400
    assert len(answer.body["message"]) > 20


def test_deep_bodies_are_refused(token: PushToken) -> None:
    deep: dict[str, Any] = {"stringValue": "x"}
    for _level in range(150):
        deep = {"arrayValue": {"values": [deep]}}
    assert send(token, exported(record(deep))).status == 400


def test_too_many_records_are_refused_at_once() -> None:
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for _number in range(100_001):
        records.add()
    with pytest.raises(BadBodyError, match="at most 100,000 lines"):
        decode(request)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    for parse in (otlp_logs.from_protobuf, otlp_logs.from_json):
        with contextlib.suppress(BadBodyError):
            decode(parse(body))
