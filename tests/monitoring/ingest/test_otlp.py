"""OTLP metrics over HTTP: every kind of data point, as protobuf and as JSON, and answers as the protocol has them."""

from __future__ import annotations

import contextlib
import json
import math
import time
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import MessageToJson, ParseDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from monitoring.history.frame import SeriesName, canonical_labels
from monitoring.history.read import read
from monitoring.ingest import otlp
from monitoring.ingest.otlp_points import decode, short
from monitoring.ingest.points import BadBodyError
from monitoring.models import Metric, PushToken, Server
from portal.toolkit.intake import Answer
from tests.monitoring.ingest.conftest import push

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

NOW_MS = int(time.time() * 1000) - 60_000
NOW = NOW_MS * 1_000_000
TIMES = {"timeUnixNano": str(NOW), "startTimeUnixNano": str(NOW - 10 * 10**9)}
CUMULATIVE, DELTA = 2, "AGGREGATION_TEMPORALITY_DELTA"
RESOURCE = {"host.name": "web-1"}


def attributes(said: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"stringValue": text} if isinstance(text, str) else text} for key, text in said.items()
    ]


def exported(*metrics: dict[str, Any], resource: dict[str, Any] | None = None) -> dict[str, Any]:
    """A request in the JSON form."""
    named = {"attributes": attributes(RESOURCE if resource is None else resource)}
    return {"resourceMetrics": [{"resource": named, "scopeMetrics": [{"scope": {"name": "t"}, "metrics": [*metrics]}]}]}


def gauge(name: str, value: Any, **labels: Any) -> dict[str, Any]:
    return {"name": name, "gauge": {"dataPoints": [{**TIMES, **value, "attributes": attributes(labels)}]}}


def summed(name: str, value: float, temporality: Any, *, monotonic: bool = True, **more: Any) -> dict[str, Any]:
    points = [{**TIMES, "asDouble": value, **more}]
    return {
        "name": name,
        "sum": {"dataPoints": points, "aggregationTemporality": temporality, "isMonotonic": monotonic},
    }


def send(token: PushToken, said: Any) -> Answer:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    return push(token, body, "/v1/metrics", content_type="application/json")


def send_protobuf(token: PushToken, said: dict[str, Any] | bytes) -> Answer:
    body = said if isinstance(said, bytes) else ParseDict(said, ExportMetricsServiceRequest()).SerializeToString()
    return push(token, body, "/v1/metrics", content_type="application/x-protobuf")


def decoded(*metrics: dict[str, Any], resource: dict[str, Any] | None = None) -> dict[str, float]:
    """The samples of a request, by the metric and its labels."""
    points, _count = decode(otlp.from_json(json.dumps(exported(*metrics, resource=resource)).encode()))
    assert not points.rejected
    names = [points.series[which].name for which in points.which.tolist()]
    return dict(zip([name.metric + name.labels for name in names], points.values.tolist(), strict=True))


def refusals(*metrics: dict[str, Any], resource: dict[str, Any] | None = None) -> list[str]:
    points, _count = decode(otlp.from_json(json.dumps(exported(*metrics, resource=resource)).encode()))
    return [f"{each.where}: {each.reason}" for each in points.rejected]


@pytest.mark.parametrize("way", [send, send_protobuf], ids=["JSON", "protobuf"])
def test_what_is_exported_is_read_back(token: PushToken, way: Any) -> None:
    answer = way(token, exported(gauge("queue.depth", {"asInt": "7"}, queue="mail")))
    assert answer.status == 200, answer
    name = SeriesName("queue.depth", canonical_labels({"queue": "mail"}))
    tracks = read(Server.objects.get(name="web-1").pk, [name], NOW_MS, NOW_MS + 1)
    assert (tracks.at_ms.tolist(), tracks.values.tolist()) == ([NOW_MS], [[7.0]])


def test_a_cumulative_sum_is_a_counter_kept_as_it_is(token: PushToken) -> None:
    said = [summed("grown", 5, CUMULATIVE), summed("up_down", 5, CUMULATIVE, monotonic=False), summed("new", 5, DELTA)]
    assert send(token, exported(*said)).status == 200
    assert dict(Metric.objects.filter(family="").values_list("name", "is_counter")) == {
        "grown": True,
        "up_down": False,
        "new": False,
    }
    assert decoded(*said) == {"grown": 5.0, "up_down": 5.0, "new": 0.5}


def test_a_histogram_is_prometheus_classic_one() -> None:
    point = {**TIMES, "count": "6", "sum": 3.5, "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 10]}
    cumulative = {"name": "t", "histogram": {"dataPoints": [point], "aggregationTemporality": CUMULATIVE}}
    delta = {"name": "t", "histogram": {"dataPoints": [point], "aggregationTemporality": DELTA}}
    expected = {
        "t_count": 6.0,
        "t_sum": 3.5,
        't_bucket{"le":"0.5"}': 1.0,
        't_bucket{"le":"10"}': 3.0,
        't_bucket{"le":"+Inf"}': 6.0,
    }
    assert decoded(cumulative) == expected
    assert decoded(delta) == pytest.approx({name: value / 10 for name, value in expected.items()})


def test_of_an_exponential_histogram_count_and_sum_are_kept() -> None:
    point = {**TIMES, "count": 6, "sum": 3.5, "scale": 3, "positive": {"offset": 1, "bucketCounts": [1, 5]}}
    data = {"dataPoints": [point], "aggregationTemporality": CUMULATIVE}
    assert decoded({"name": "t", "exponentialHistogram": data}) == {"t_count": 6.0, "t_sum": 3.5}


def test_a_summary_has_its_quantiles_as_labels(token: PushToken) -> None:
    point = {
        **TIMES,
        "count": 6,
        "sum": 3.5,
        "quantileValues": [{"quantile": 0.5, "value": 2}, {"quantile": 1, "value": 9}],
    }
    summary = {"name": "t", "summary": {"dataPoints": [point]}}
    assert decoded(summary) == {"t_count": 6.0, "t_sum": 3.5, 't{"quantile":"0.5"}': 2.0, 't{"quantile":"1"}': 9.0}
    send(token, exported(summary))
    assert set(Metric.objects.filter(is_counter=True).values_list("name", flat=True)) == {"t_count", "t_sum"}


@pytest.mark.parametrize(
    ("resource", "host", "labels"),
    [
        ({"host.name": "a", "service.name": "shop"}, "a", {"service.name": "shop"}),
        ({"service.name": "shop", "service.instance.id": "7"}, "7", {"service.name": "shop"}),
        ({"service.name": "shop"}, "shop", {}),
        ({"os.type": "linux"}, "", {}),
    ],
)
def test_the_resource_names_the_host(resource: dict[str, str], host: str, labels: dict[str, str]) -> None:
    points, _count = decode(otlp.from_json(json.dumps(exported(gauge("m", {"asInt": 1}), resource=resource)).encode()))
    [series] = points.series
    assert (series.host, series.name.labels) == (host, canonical_labels(labels))


def test_attributes_of_any_type_are_labels() -> None:
    said = {"b": {"boolValue": True}, "i": {"intValue": "5"}, "d": {"doubleValue": 0.25}, "none": {}, "s": "é"}
    assert decoded(gauge("m", {"asDouble": 1}, **said)) == {'m{"b":"true","d":"0.25","i":"5","s":"é"}': 1.0}


UNEVEN_POINT = {**TIMES, "bucketCounts": [1, 2]}
UNEVEN = {"name": "m", "histogram": {"dataPoints": [UNEVEN_POINT], "aggregationTemporality": CUMULATIVE}}
WIDE_POINT = {**TIMES, "bucketCounts": [0] * 1002, "explicitBounds": list(range(1001))}
WIDE = {"name": "m", "histogram": {"dataPoints": [WIDE_POINT], "aggregationTemporality": CUMULATIVE}}


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        (summed("m", 1, 0), "neither that it is cumulative nor that it is a delta"),
        (summed("m", 1, DELTA, startTimeUnixNano="0"), "a delta needs a start before its time"),
        (summed("m", 1, DELTA, startTimeUnixNano=str(NOW)), "a delta needs a start before its time"),
        (summed("m", 1, CUMULATIVE, timeUnixNano="0"), "the data point has no time"),
        (gauge("m", {}), "the data point has no value"),
        (gauge("m", {"asDouble": "Infinity"}), "infinity is not a measurement"),
        (gauge("", {"asInt": 1}), "a metric's name has"),
        (UNEVEN, "one bucket more than bounds"),
        (WIDE, "at most 1,000 bounds"),
    ],
)
def test_what_cannot_be_kept_is_named_and_the_rest_is_taken(metric: dict[str, Any], reason: str) -> None:
    [refused] = refusals(metric, gauge("good", {"asInt": 1}))
    assert reason in refused
    assert refused.startswith("web-1: ")


def test_a_point_without_a_recorded_value_is_a_gap(token: PushToken) -> None:
    answer = send(token, exported(gauge("m", {"flags": 1}), gauge("n", {"asDouble": "NaN"})))
    assert (answer.status, answer.body["gaps"]) == (200, 2)


# --- Answers ----------------------------------------------------------------------------------------------------------
def test_a_part_that_is_refused_is_told_as_partial_success(token: PushToken) -> None:
    said = exported(gauge("m", {"asInt": 1}), gauge("n", {"asDouble": "Infinity"}))
    answer = send(token, said)
    assert answer.status == 200
    assert answer.body["partialSuccess"]["rejectedDataPoints"] == "1"
    answer = send_protobuf(token, said)
    assert isinstance(answer.body, bytes)
    partial = ExportMetricsServiceResponse.FromString(answer.body).partial_success
    assert partial.rejected_data_points == 1
    assert "web-1: n" in partial.error_message


def test_where_nothing_was_taken_the_answer_is_400_with_a_status(token: PushToken) -> None:
    said = exported(gauge("n", {"asDouble": "Infinity"}))
    answer = send(token, said)
    assert (answer.status, answer.body["code"]) == (400, 3)
    answer = send_protobuf(token, said)
    assert (answer.status, answer.content_type) == (400, "application/x-protobuf")
    assert b"infinity is not a measurement" in bytes(answer.body)


def test_what_a_host_says_of_itself_is_kept_as_it_can_be_read(token: PushToken) -> None:
    resource = {"host.name": "web-1", "os.description": "Linux\0 6\n"}
    assert send(token, exported(gauge("load", {"asDouble": 1}), resource=resource)).status == 200
    assert Server.objects.get(name="web-1").description == "Linux\N{REPLACEMENT CHARACTER} 6\N{REPLACEMENT CHARACTER}"


def test_a_request_without_metrics_is_fine(token: PushToken) -> None:
    assert send(token, {}).status == send_protobuf(token, b"").status == 200


@pytest.mark.parametrize("headers", [{}, {"content_type": "text/plain"}, {"content_type": "application/grpc"}])
def test_another_type_of_body_is_415(token: PushToken, headers: dict[str, str]) -> None:
    assert push(token, b"{}", "/v1/metrics", **headers).status == 415


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "\u200b", "x" * 5000], ids=["NUL", "line feed", "invisible", "long"])
def test_text_that_no_database_takes_is_refused_or_put_right(token: PushToken, text: str) -> None:
    resource = RESOURCE | {"os.description": text}
    assert send(token, exported(gauge("m", {"asInt": 1}), resource=resource)).status == 200
    for said in (
        exported(gauge("m", {"asInt": 1}), resource={"host.name": text}),
        exported(gauge("m", {"asInt": 1}), resource=RESOURCE | {"service.name": text}),
        exported(gauge(text, {"asInt": 1})),
        exported(gauge("m", {"asInt": 1}, **{text: "x"})),
        exported(gauge("m", {"asInt": 1}, label=text)),
    ):
        assert send_protobuf(token, said).status in {200, 400}


# --- Bodies that are none ---------------------------------------------------------------------------------------------
FULL = exported(gauge("m", {"asInt": 1}, a="b"), summed("s", 1, CUMULATIVE))


def test_every_truncation_is_refused(token: PushToken) -> None:
    message = ParseDict(FULL, ExportMetricsServiceRequest()).SerializeToString()
    for length in range(1, len(message)):
        with pytest.raises(BadBodyError):
            otlp.from_protobuf(message[:length])
    text = json.dumps(FULL).encode()
    for length in range(len(text)):
        with pytest.raises(BadBodyError):
            otlp.from_json(text[:length])


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":' + b'{"arrayValue":{"values":[' * 200,
        json.dumps(exported(gauge("m", {"asInt": "1.5"}))).encode(),
        b'{"resourceMetrics": 5}',
        b'{"resourceMetrics": [5]}',
        b'{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": 5}]}]}]}',
        b"[]",
        b"5",
        b'{"a": NaN}',
        b"\xff\xfe",
    ],
)
def test_json_that_is_none_is_400_with_words(token: PushToken, body: bytes) -> None:
    answer = send(token, body)
    assert answer.status == 400
    assert len(answer.body["message"]) > 20


def test_deep_attributes_are_refused() -> None:
    deep: dict[str, Any] = {"stringValue": "x"}
    for _level in range(150):
        deep = {"arrayValue": {"values": [deep]}}
    with pytest.raises(BadBodyError):
        otlp.from_json(json.dumps(exported(gauge("m", {"asInt": 1}, a=deep))).encode())


def test_unknown_fields_and_ids_of_exemplars_are_left_aside() -> None:
    said = gauge("m", {"asInt": 1, "exemplars": [{"traceId": "abc", "spanId": "zz!"}], "newField": {"x": 1}})
    assert decoded(said | {"entity": 5}) == {"m": 1.0}


def test_a_million_attributes_are_refused_soon() -> None:
    request = ExportMetricsServiceRequest()
    point = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m").gauge.data_points.add()
    point.time_unix_nano, point.as_int = NOW, 1
    point.attributes.add(key="a").value.string_value = "b"
    body = point.SerializeToString()
    one = body[body.index(b"\x3a") :][:10]
    point.MergeFromString(one * 1_000_000)
    points, _count = decode(request)
    assert [each.reason for each in points.rejected] == ["a data point has at most 64 attributes"]


VALUES = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
POINTS = st.lists(st.tuples(NAMES, st.dictionaries(NAMES, NAMES, max_size=3), VALUES), max_size=6)


@settings(max_examples=60, deadline=None)
@given(POINTS)
def test_both_forms_say_the_same(said: list[tuple[str, dict[str, str], float]]) -> None:
    metrics = [gauge(f"m_{name}", {"asDouble": value}) for name, _labels, value in said]
    for metric, (_name, labels, _value) in zip(metrics, said, strict=True):
        metric["gauge"]["dataPoints"][0]["attributes"] = attributes(labels)
    message = ParseDict(exported(*metrics), ExportMetricsServiceRequest())
    from_wire, count = decode(otlp.from_protobuf(message.SerializeToString()))
    from_text, _count = decode(otlp.from_json(MessageToJson(message).encode()))
    assert count == len(said)
    assert from_wire.series == from_text.series
    assert np.array_equal(from_wire.values, from_text.values)
    assert from_wire.values.tolist() == [value for _name, _labels, value in said]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(body: bytes) -> None:
    for parse in (otlp.from_protobuf, otlp.from_json):
        with contextlib.suppress(BadBodyError):
            decode(parse(body))


JSONS = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceMetrics",
                    "scopeMetrics",
                    "metrics",
                    "name",
                    "gauge",
                    "sum",
                    "dataPoints",
                    "attributes",
                    "key",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=150, deadline=None)
@given(JSONS)
def test_any_json_is_a_request_or_refused(said: Any) -> None:
    with contextlib.suppress(BadBodyError):
        body = json.dumps({"resourceMetrics": said}).encode()
        decode(otlp.from_json(body))


def test_bounds_are_written_as_prometheus_does() -> None:
    assert [short(bound) for bound in (5.0, 0.25, 1e20, math.inf, -math.inf)] == [
        "5",
        "0.25",
        "1e+20",
        "+Inf",
        "-Inf",
    ]
