"""POST /api/push: what is taken can be read back, what is not is named, and nothing is ever 500."""

from __future__ import annotations

import contextlib
import json
import math
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from monitoring.history.frame import SeriesName
from monitoring.history.read import read
from monitoring.ingest import agent, door, receipts
from monitoring.ingest.agent import decode
from monitoring.ingest.points import BadBodyError
from monitoring.models import PushReceipt, PushToken, Server
from tests.monitoring.ingest.conftest import push

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def reasons(answer: Any) -> dict[str, str]:
    return {each["where"]: each["reason"] for each in answer.body["refused"]}


def values_of(host: str, name: SeriesName) -> list[float]:
    server = Server.objects.get(name=host)
    now_ms = int(time.time() * 1000)
    tracks = read(server.pk, [name], now_ms - 3_600_000, now_ms + 1000)
    return [value for value in tracks.values[0].tolist() if not math.isnan(value)]


def test_what_is_answered_with_200_is_read_back(token: PushToken) -> None:
    at = time.time() - 5
    answer = push(token, {"host": "web-1", "at": at, "metrics": {"cpu": 12.5, 'queue{name="a"}': 3}})
    assert (answer.status, answer.body) == (200, {"kept": 2, "gaps": 0, "refused": [], "refused_count": 0})
    server = Server.objects.get(name="web-1")
    names = [SeriesName("cpu"), SeriesName("queue", '{"name":"a"}')]
    tracks = read(server.pk, names, round(at * 1000), round(at * 1000) + 1)
    assert tracks.values.tolist() == [[12.5], [3.0]]


def test_what_is_pushed_comes_back_to_the_last_bit(token: PushToken) -> None:
    sent = [0.1 + 0.2, 5e-324, 1.7976931348623157e308, -1 / 3, 2**53 + 2]
    begin = time.time() - 60
    frames = [{"at": begin + i, "metrics": {"x": value}} for i, value in enumerate(sent)]
    assert push(token, {"host": "web-1", "frames": frames}).status == 200
    assert values_of("web-1", SeriesName("x")) == sent


def test_hosts_and_frames_come_in_one_body(token: PushToken) -> None:
    at = time.time() - 5
    said = [
        {"host": "one", "frames": [{"at": at, "metrics": {"cpu": 1}}, {"at": at + 1, "metrics": {"cpu": 2, "y": 3}}]},
        {"host": "two", "at": datetime.fromtimestamp(at, UTC).isoformat(), "metrics": {"cpu": 4, "gone": None}},
    ]
    answer = push(token, said)
    assert (answer.status, answer.body["kept"], answer.body["gaps"]) == (200, 4, 1)
    assert values_of("one", SeriesName("cpu")) == [1, 2]
    assert values_of("two", SeriesName("cpu")) == [4]


def test_any_cut_of_an_instant_gives_the_same(token: PushToken) -> None:
    at = time.time() - 5
    whole = {f"m{number}": float(number) for number in range(150)}
    for start in range(0, 150, 7):
        part = dict(list(whole.items())[start : start + 10])
        assert push(token, {"host": "web-1", "at": at, "metrics": part}).status == 200
    assert {name: values_of("web-1", SeriesName(name)) for name in whole} == {n: [v] for n, v in whole.items()}


def test_the_same_body_again_changes_nothing(token: PushToken) -> None:
    said = {"host": "web-1", "at": time.time() - 5, "metrics": {"cpu": 1}}
    assert [push(token, said).status, push(token, said).status] == [200, 200]
    assert values_of("web-1", SeriesName("cpu")) == [1]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('"12"', "is not a number but text"),
        ("true", "is not a number but true or false"),
        ("[1]", "is not a number but a list"),
        ('{"a": 1}', "is not a number but an object"),
        ("NaN", "is NaN; leave it out, or send null"),
        ("Infinity", "is infinite"),
        ("-Infinity", "is infinite"),
        ("1e309", "is infinite"),
        ("1" + "0" * 400, "is infinite"),
    ],
)
def test_a_bad_value_is_named_and_the_rest_is_kept(token: PushToken, value: str, reason: str) -> None:
    answer = push(token, f'{{"host": "web-1", "metrics": {{"bad": {value}, "cpu": 7}}}}'.encode())
    assert (answer.status, answer.body["kept"], answer.body["refused_count"]) == (400, 1, 1)
    assert (reasons(answer), answer.body["error"]) == ({"metrics.bad": reason}, "partly_refused")
    assert values_of("web-1", SeriesName("cpu")) == [7]


def test_a_name_that_is_there_twice_is_refused_and_the_rest_is_kept(token: PushToken) -> None:
    answer = push(token, b'{"host": "web-1", "metrics": {"a": 1, "b": 2, "a": 3}}')
    assert (answer.status, answer.body["kept"]) == (400, 1)
    assert reasons(answer) == {"metrics.a": "is there more than once"}


@pytest.mark.parametrize(
    ("said", "where", "reason"),
    [
        ([5], "[0]", "an object with host and metrics is needed, not a number"),
        ({"host": 5, "metrics": {"a": 1}}, "the body", "host must be text"),
        ({"host": "a\nb", "metrics": {"a": 1}}, "the body", "one line"),
        ({"host": "a"}, "the body", "use either metrics or frames"),
        ({"host": "a", "metrics": {"a": 1}, "frames": []}, "the body", "use either metrics or frames"),
        ({"host": "a", "metrics": [1]}, "the body", "metrics must be an object"),
        ({"host": "a", "time": 5, "metrics": {"a": 1}}, "the body", "time is not known"),
        ({"host": "a", "at": "noon", "metrics": {"a": 1}}, "the body", "at is no instant"),
        ({"host": "a", "at": "2026-01-01T00:00:00", "metrics": {"a": 1}}, "the body", "at has no time zone"),
        ({"host": "a", "at": True, "metrics": {"a": 1}}, "the body", "at is no instant"),
        ({"host": "a", "at": 1.79e12, "metrics": {"a": 1}}, "the body", "at is no number of seconds"),
        ({"host": "a", "frames": [{"metrics": {"a": 1}}, 7]}, "the body", "frames[1] must be an object"),
        ({"host": "a", "interval": 0, "metrics": {"a": 1}}, "the body", "interval must be a number"),
        ({"host": "a", "kind": "toaster", "metrics": {"a": 1}}, "the body", "kind must be one of"),
        ({"host": "a", "metrics": {"": 1}}, "metrics.", "is no name"),
        ({"host": "a", "metrics": {'x{a="1"': 1}}, 'metrics.x{a="1"', "is no name"),
        ({"host": "a", "metrics": {"x{a=1}": 1}}, "metrics.x{a=1}", "has labels that cannot be read"),
        ({"host": "a", "metrics": {'x{a="1",a="2"}': 1}}, 'metrics.x{a="1",a="2"}', "has the label a twice"),
    ],
)
def test_what_cannot_be_taken_is_named(token: PushToken, said: Any, where: str, reason: str) -> None:
    answer = push(token, said)
    assert (answer.status, answer.body["kept"]) == (400, 0)
    assert reason in reasons(answer)[where]
    assert answer.body["message"]


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (0, "older than"),
        ("2100-01-01T00:00:00Z", "in the future"),
        (-(10**10), "older than"),
    ],
)
def test_instants_out_of_reach_are_refused_one_by_one(token: PushToken, at: Any, reason: str) -> None:
    frames = [{"at": at, "metrics": {"a": 1, "b": 2}}, {"at": time.time() - 1, "metrics": {"a": 1}}]
    answer = push(token, {"host": "web-1", "frames": frames})
    assert (answer.status, answer.body["kept"], answer.body["refused_count"]) == (400, 1, 2)
    assert reason in answer.body["refused"][0]["reason"]


@pytest.mark.parametrize(
    ("metric", "reason"),
    [
        ("x" * 201, "1 to 200 characters"),
        ("a\u200bb", "visible characters"),
        ("\ud800", "visible characters"),
        ('x{l="' + "é" * 1500 + '"}', "at most 2,000 bytes"),
    ],
)
def test_names_that_no_series_can_have_are_refused(token: PushToken, metric: str, reason: str) -> None:
    answer = push(token, {"host": "web-1", "metrics": {metric: 1, "cpu": 2}})
    assert (answer.status, answer.body["kept"]) == (400, 1)
    assert reason in answer.body["refused"][0]["reason"]
    assert json.loads(json.dumps(answer.body))


def test_labels_may_have_any_text(token: PushToken) -> None:
    label = 'a "quoted" \\ line\nand 한글'
    key = "x{l=" + json.dumps(label, ensure_ascii=False) + "}"
    assert push(token, {"host": "web-1", "metrics": {key: 1}}).status == 200
    assert values_of("web-1", SeriesName("x", json.dumps({"l": label}, ensure_ascii=False, separators=(",", ":")))) == [
        1
    ]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/x-protobuf"])
def test_another_type_of_body_is_415(token: PushToken, content_type: str) -> None:
    assert push(token, {"host": "a", "metrics": {"a": 1}}, content_type=content_type).status == 415


def test_json_by_any_of_its_names_is_taken(token: PushToken) -> None:
    for content_type in ("application/json; charset=utf-8", "application/vnd.api+json", "text/json"):
        assert push(token, {"host": "a", "metrics": {"a": 1}}, content_type=content_type).status == 200


def test_every_truncation_of_a_body_is_400_and_keeps_nothing(token: PushToken) -> None:
    whole = json.dumps([{"host": "wéb", "interval": 10, "at": time.time(), "metrics": {"a": 1.5e3}}]).encode()
    for length in range(len(whole)):
        answer = push(token, whole[:length])
        assert (answer.status, answer.body["kept"], answer.body["error"]) == (400, 0, "bad_body"), whole[:length]
    assert not Server.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"null",
        b"5",
        b'"x"',
        b'{"host": "\xc3("}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_push_is_400_with_words(token: PushToken, body: bytes) -> None:
    answer = push(token, body)
    assert (answer.status, answer.body["kept"]) == (400, 0)
    assert answer.body["message"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
pushes = st.fixed_dictionaries(
    {},
    optional={
        "host": st.text(max_size=6) | json_values,
        "at": st.floats() | st.integers() | json_values,
        "interval": json_values,
        "metrics": st.dictionaries(st.text(max_size=6), st.floats() | json_values, max_size=4) | json_values,
        "frames": st.lists(st.fixed_dictionaries({"at": json_values, "metrics": json_values}), max_size=3),
    },
)


@given(st.lists(pushes, max_size=3) | json_values)
def test_the_decoder_takes_or_names_everything(said: Any) -> None:
    points = decode(json.dumps(said).encode("utf-8", "surrogatepass"), NOW)
    assert len(points.which) == len(points.at_ms) == len(points.values)
    assert all(map(math.isfinite, points.values))
    assert all(each.count >= 1 and each.reason for each in points.rejected)


@given(st.binary(max_size=60))
def test_the_decoder_survives_any_bytes(body: bytes) -> None:
    with contextlib.suppress(BadBodyError):
        assert decode(body, NOW) is not None


# --- Idempotency-Key --------------------------------------------------------------------------------------------------


def test_a_repetition_with_its_key_gets_the_first_answer_and_keeps_nothing(token: PushToken) -> None:
    said = {"host": "web-1", "metrics": {"orders": 1, "bad": "x"}}
    first = push(token, said, idempotency_key="k1")
    again = push(token, said, idempotency_key="k1")
    assert (again.status, again.body) == (first.status, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert values_of("web-1", SeriesName("orders")) == [1]


def test_without_a_key_a_repetition_is_another_sample(token: PushToken) -> None:
    """Else the tests beside this one could not fail."""
    for _ in range(2):
        assert push(token, {"host": "web-1", "metrics": {"orders": 1}}).status == 200
        time.sleep(0.002)
    assert values_of("web-1", SeriesName("orders")) == [1, 1]


@pytest.mark.parametrize("killed_at", ["before", "after"])
def test_a_kill_around_the_commit_doubles_nothing(
    token: PushToken, killed_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*args: Any, **kwargs: Any) -> Any:
        if killed_at == "after":
            kept(*args, **kwargs)
        raise Killed

    said, kept = {"host": "web-1", "metrics": {"orders": 1}}, door.take
    monkeypatch.setattr(agent, "take", die)
    with pytest.raises(Killed):
        push(token, said, idempotency_key="k1")
    monkeypatch.setattr(agent, "take", kept)
    time.sleep(0.002)
    assert push(token, said, idempotency_key="k1").status == 200
    assert values_of("web-1", SeriesName("orders")) == [1]


def test_a_key_belongs_to_one_body_and_one_token(token: PushToken, make_token: Any) -> None:
    other = make_token("omp_other")
    assert push(token, {"host": "web-1", "metrics": {"a": 1}}, idempotency_key="k1").status == 200
    assert push(token, {"host": "web-1", "metrics": {"a": 2}}, idempotency_key="k1").status == 400
    assert push(other, {"host": "web-1", "metrics": {"a": 2}}, idempotency_key="k1").status == 200


@pytest.mark.parametrize("key", ["x" * 201, "é", "a\x07b"])
def test_a_key_that_makes_no_sense_is_refused(token: PushToken, key: str) -> None:
    assert push(token, {"host": "web-1", "metrics": {"a": 1}}, idempotency_key=key).status == 400


def test_receipts_are_kept_for_a_day(token: PushToken) -> None:
    push(token, {"host": "web-1", "metrics": {"a": 1}}, idempotency_key="k1")
    receipts.forget_old(timezone.now())
    assert PushReceipt.objects.count() == 1
    receipts.forget_old(timezone.now() + receipts.KEPT)
    assert PushReceipt.objects.count() == 0
