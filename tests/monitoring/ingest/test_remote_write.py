"""remote_write 1.0: what Prometheus sends is kept to the bit, and what is no such thing is told in words."""

from __future__ import annotations

import contextlib
import math
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.history.frame import SeriesName, canonical_labels
from monitoring.history.read import read
from monitoring.ingest import kinds, remote_write
from monitoring.ingest.points import BadBodyError, Points
from monitoring.ingest.protobuf import encoded_varint
from monitoring.models import Metric, PushToken, Server
from tests.monitoring.ingest.conftest import Heard, push
from tests.monitoring.ingest.messages import HEADERS, STALE, field, label, metadata, packed, sample, series

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis", "nothing_remembered")]

NOW_MS = int(time.time() * 1000) - 60_000
UP = {"__name__": "up", "instance": "web-1:9100", "job": "node"}


@pytest.fixture
def nothing_remembered() -> Iterator[None]:
    remote_write.forget()
    kinds.forget()
    yield
    remote_write.forget()
    kinds.forget()


def write(token: PushToken, message: bytes, **headers: str) -> Heard:
    named = HEADERS | {name.replace("_", "-"): text for name, text in headers.items()}
    return push(token, packed(message), "/api/v1/write", **named)


def values_of(host: str, metric: str, labels: dict[str, str]) -> list[tuple[int, float]]:
    name = SeriesName(metric, canonical_labels(labels))
    tracks = read(Server.objects.get(name=host).pk, [name], 0, NOW_MS * 2)
    known = ~np.isnan(tracks.values[0])
    return list(zip(tracks.at_ms[known].tolist(), tracks.values[0][known].tolist(), strict=True))


def points_of(message: bytes) -> Points:
    return remote_write.decode(message, "instance").points


def samples_of(points: Points) -> set[tuple[Any, int, float]]:
    rows = zip(points.which.tolist(), points.at_ms.tolist(), points.values.tolist(), strict=True)
    return {(points.series[which], at, value) for which, at, value in rows}


def refusal_of(message: bytes) -> BadBodyError:
    with pytest.raises(BadBodyError) as caught:
        points_of(message)
    return caught.value


def test_what_prometheus_sends_is_read_back(token: PushToken) -> None:
    answer = write(token, series(UP, [(1.5, NOW_MS), (0.0, NOW_MS + 1000)]))
    assert (answer.status, answer.body["kept"]) == (200, 2), answer
    labels = {"instance": "web-1:9100", "job": "node"}
    assert values_of("web-1", "up", labels) == [(NOW_MS, 1.5), (NOW_MS + 1000, 0.0)]


def test_the_second_request_is_read_by_the_bytes_of_its_labels(token: PushToken) -> None:
    for second, value in enumerate((0.1 + 0.2, 0.0, -0.0, 5e-324)):
        assert write(token, series(UP, [(value, NOW_MS + second * 1000)])).status == 200
    kept = [value for _at, value in values_of("web-1", "up", {"instance": "web-1:9100", "job": "node"})]
    assert struct.pack("<4d", *kept) == struct.pack("<4d", 0.1 + 0.2, 0.0, -0.0, 5e-324)


@pytest.mark.parametrize(
    ("labels", "host"),
    [
        ({"instance": "10.0.0.7:9100"}, "10.0.0.7"),
        ({"instance": "[fe80::1]:9100"}, "fe80::1"),
        ({"instance": "fe80::1"}, "fe80::1"),
        ({"instance": "https://example.org:8443"}, "https://example.org:8443"),
        ({"instance": "", "nodename": "db-1"}, "db-1"),
        ({"host": "db-2"}, "db-2"),
    ],
)
def test_the_host_is_named_by_a_label_without_its_port(labels: dict[str, str], host: str) -> None:
    points = points_of(series({"__name__": "up"} | labels, [(1, NOW_MS)]))
    assert [one.host for one in points.series] == [host]


def test_the_token_says_which_label_names_the_host(make_token: Callable[..., PushToken]) -> None:
    token = make_token(host_label="node")
    assert write(token, series(UP | {"node": "rack-7:1"}, [(1, NOW_MS)])).status == 200
    assert Server.objects.filter(name="rack-7").exists()


def test_without_a_host_a_series_is_refused_and_the_rest_is_kept(token: PushToken) -> None:
    answer = write(token, series({"__name__": "orphan"}, [(1, NOW_MS)]) + series(UP, [(1, NOW_MS)]))
    assert (answer.status, answer.body["kept"], answer.body["refused_count"]) == (400, 1, 1)
    assert "no label says the host: instance" in answer.body["message"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([("instance", "a")], "the series has no name"),
        ([("__name__", "m"), ("instance", "a"), ("x", "1"), ("x", "2")], "a label is given twice"),
        ([("__name__", "m"), ("instance", "a"), ("", "1")], "a label has no name"),
        ([("__name__", "m"), ("instance", "a"), ("x", b"\xff")], "a label is not UTF-8"),
        ([("__name__", "m"), ("instance", "a"), ("x", "1" * 2000)], "the labels of a series have at most 2,000 bytes"),
        ([("__name__", "m" * 300), ("instance", "a")], "a metric's name has"),
        ([("__name__", "m"), ("instance", "a"), *((f"x{n}", "1") for n in range(100))], "at most 64 labels"),
    ],
)
def test_labels_that_name_no_series_are_refused_with_the_reason(labels: Any, reason: str) -> None:
    points = points_of(series(labels, [(1, NOW_MS), (2, NOW_MS + 1)]) + series(UP, [(1, NOW_MS)]))
    assert [one.name.metric for one in points.series] == ["up"]
    [rejected] = points.rejected
    assert reason in rejected.reason
    assert rejected.count == 2


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "\u200b"], ids=["NUL", "line feed", "invisible"])
def test_text_that_no_database_takes_is_refused_or_put_right(token: PushToken, text: str) -> None:
    for labels in ({"__name__": text}, {"instance": text}, {"x": text}, {text: "x"}):
        assert write(token, series(UP | labels, [(1, NOW_MS)]) + metadata(1, text)).status in {200, 400}


def test_stale_markers_and_nan_are_gaps(token: PushToken) -> None:
    answer = write(token, series(UP, [(STALE, NOW_MS), (math.nan, NOW_MS + 1), (1, NOW_MS + 2)]))
    assert (answer.status, answer.body["kept"], answer.body["gaps"]) == (200, 1, 2)


def test_infinities_are_refused_by_name(token: PushToken) -> None:
    answer = write(token, series(UP, [(math.inf, NOW_MS), (1, NOW_MS + 1)]))
    assert (answer.status, answer.body["kept"]) == (400, 1)
    assert "web-1: up{" in answer.body["message"]
    assert "infinity is not a measurement" in answer.body["message"]


def test_native_histograms_are_refused_by_name() -> None:
    points = points_of(series(UP, [], field(4, b"\x08\x01")))
    assert [(each.where, each.reason) for each in points.rejected] == [("web-1: up", remote_write.NATIVE)]


@pytest.mark.parametrize("at_ms", [0, -5, 4_102_444_800_000, (1 << 63) - 1, -(1 << 63)])
def test_instants_out_of_reach_are_refused(token: PushToken, at_ms: int) -> None:
    answer = write(token, series(UP, [(1, at_ms)]))
    assert (answer.status, answer.body["kept"]) == (400, 0)


def test_what_is_no_counter_by_its_suffix_is_one_when_metadata_says_so(token: PushToken) -> None:
    names = ["requests_total", "latency_sum", "load", "odd", "queue_count"]
    said = metadata(1, "odd") + metadata(2, "queue_count")
    assert write(token, said).status == 200
    assert write(token, b"".join(series(UP | {"__name__": name}, [(1, NOW_MS)]) for name in names)).status == 200
    counters = Metric.objects.filter(name__in=names, is_counter=True).values_list("name", flat=True)
    assert set(counters) == {"requests_total", "latency_sum", "odd"}


def test_metadata_that_comes_late_puts_right_what_the_suffix_said(token: PushToken) -> None:
    write(token, series(UP | {"__name__": "queue_count"}, [(1, NOW_MS)]))
    write(token, metadata(2, "queue_count"))
    assert not Metric.objects.get(name="queue_count").is_counter


def test_what_feeds_the_catalogue_is_no_gauge_because_a_sender_says_so(token: PushToken) -> None:
    cpu = UP | {"__name__": "node_cpu_seconds_total", "cpu": "0", "mode": "idle"}
    write(token, metadata(2, "node_cpu_seconds_total") + series(cpu, [(1, NOW_MS)]))
    assert points_of(series(cpu, [(1, NOW_MS)])).counters == {"node_cpu_seconds_total"}
    assert Metric.objects.get(name="node_cpu_seconds_total").is_counter


@pytest.mark.parametrize("told", [b"", metadata(1, "a\0b"), metadata(2, "a\0b_total")], ids=["", "grows", "is a gauge"])
def test_a_counter_that_no_metric_can_be_called_holds_up_nothing(token: PushToken, told: bytes) -> None:
    """What is 503 comes again for ever, with all that is behind it."""
    answer = write(token, told + series(UP, [(1, NOW_MS)]) + series(UP | {"__name__": "a\0b_total"}, [(1, NOW_MS)]))
    assert (answer.status, answer.body["kept"], answer.body["refused_count"]) == (400, 1, 1)


def test_a_name_of_the_catalogue_is_somebody_elses(token: PushToken) -> None:
    write(token, series(UP | {"__name__": "cpu"}, [(4711, NOW_MS)]))
    assert values_of("web-1", "exported_cpu", {"instance": "web-1:9100", "job": "node"}) == [(NOW_MS, 4711)]


# --- Bodies that are none ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"},
        {"x_prometheus_remote_write_version": "2.0.0"},
        {"content_type": "application/json"},
        {"content_encoding": ""},
        {"content_encoding": "gzip"},
    ],
)
def test_another_kind_of_body_is_415_with_words(token: PushToken, headers: dict[str, str]) -> None:
    answer = write(token, series(UP, [(1, NOW_MS)]), **headers)
    assert answer.status == 415
    assert len(answer.body["message"]) > 20


def test_a_request_of_remote_write_2_without_its_headers_is_not_taken_for_an_empty_one() -> None:
    assert "no time series" in str(refusal_of(field(4, b"") + field(4, b"__name__") + field(5, b"\x0a\x02\x01\x02")))


def test_every_truncation_of_the_packed_body_is_400(token: PushToken) -> None:
    body = packed(series(UP, [(1, NOW_MS)]))
    for length in range(len(body)):
        assert push(token, body[:length], "/api/v1/write", **HEADERS).status == 400, length


def test_every_truncation_of_the_message_is_refused_or_ends_between_two_series() -> None:
    one = series(UP, [(1, NOW_MS)])
    points_of(one)  # from here on its labels are known
    for length in range(1, len(one) * 2):
        if length != len(one):
            assert "cut off" in str(refusal_of((one + one)[:length])), length


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (encoded_varint(1 << 40) + b"aaaa", 413),
        (encoded_varint(30 << 20) + b"a" * 100, 400),
        (encoded_varint(3) + b"\x10hello", 400),
        (b"\xff" * 20, 400),
        (b"\xff\x06\x00\x00sNaPpY" + b"a" * 50, 400),
    ],
)
def test_a_lying_snappy_header_costs_nothing(token: PushToken, body: bytes, status: int) -> None:
    assert push(token, body, "/api/v1/write", **HEADERS).status == status


@pytest.mark.parametrize(
    "message",
    [
        series([(f"label{n}", "x") for n in range(1_000_000)], [(1, NOW_MS)]),
        label("x", "y") * 200_000,
        b"\x0a\x00" * 200_000,
        series(UP, [(1.0, 0)]) * 120_000,
        field(1, b"\x12\x00" * 600_000),
        b"\x1a\x00" * 200_000,
    ],
    ids=["labels", "labels as series", "empty series", "one series", "samples", "metadata"],
)
def test_a_million_of_anything_is_answered_soon(message: bytes) -> None:
    began = time.process_time()
    with contextlib.suppress(BadBodyError):
        points = points_of(message)
        assert len(points.values) <= remote_write.MOST_SAMPLES
        assert len(points.rejected) <= 200
    assert time.process_time() - began < 20


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_points_or_refused(message: bytes) -> None:
    with contextlib.suppress(BadBodyError):
        points_of(message)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
LABELS = st.dictionaries(NAMES, NAMES, max_size=4)
SAMPLES = st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(1 << 62), 1 << 62)))
REQUESTS = st.lists(st.tuples(LABELS, st.one_of(SAMPLES, st.tuples(st.tuples(st.floats(-9, 9), st.just(NOW_MS))))))


@settings(max_examples=100, deadline=None)
@given(REQUESTS)
def test_what_is_written_is_read_the_first_and_the_second_time(request: Any) -> None:
    rows = [(dict(labels) | {"__name__": "m", "instance": "h"}, list(samples)) for labels, samples in request]
    message = b"".join(series(labels, samples) for labels, samples in rows)
    named = [({name: text for name, text in row.items() if name != "__name__"}, some) for row, some in rows]
    sent = {(canonical_labels(labels), at, value) for labels, some in named for value, at in some}
    for _time in range(2):
        found = {(one.name.labels, at, value) for one, at, value in samples_of(points_of(message))}
        assert found == sent


def test_what_only_looks_like_a_usual_sample_is_read_with_care() -> None:
    usual = series(UP, [(1, NOW_MS)])
    points_of(usual)
    # As long as a usual one, with another field behind the value: its instant is not there, and so it is 0.
    odd = usual[:-7] + b"\x18" + usual[-6:]
    assert points_of(odd).at_ms.tolist() == [0]
    assert points_of(usual + odd).at_ms.tolist() == [NOW_MS, 0]
    assert sample(1, NOW_MS) in usual
