"""Loki's push, as JSON and as protobuf: what its senders send lands, and what cannot be kept costs no other line."""

from __future__ import annotations

import contextlib
import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.ingest import doors, loki_json, loki_protobuf, tokens
from monitoring.ingest.log_labels import said_by
from monitoring.ingest.points import BadBodyError
from monitoring.logs import take
from monitoring.logs.line import MAX_TEXT, KeptLine, Level
from monitoring.models import PushToken, Server, ServerGroup
from portal.toolkit.bodies import Patience
from tests.asgi import ask
from tests.monitoring.ingest import log_messages as messages
from tests.monitoring.ingest.conftest import TEXT, Heard, push
from tests.monitoring.ingest.messages import packed
from tests.monitoring.logs.conftest import kept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

PATH = "/loki/api/v1/push"
NOW = time.time_ns() - 60_000_000_000
LABELS = {"host": "web-1", "job": "nginx"}
LABELS_TEXT = '{host="web-1", job="nginx"}'


def value(text: Any = "it works", at: Any = NOW, *more: Any) -> list[Any]:
    return [str(at) if isinstance(at, int) else at, text, *more]


def pushed(*values: list[Any], labels: Any = LABELS) -> dict[str, Any]:
    return {"streams": [{"stream": labels, "values": [*values]}]}


def send(token: PushToken, said: Any) -> Heard:
    return push(token, said, PATH, content_type="application/json; charset=utf-8")


def send_protobuf(token: PushToken, *streams: bytes) -> Heard:
    return push(token, packed(b"".join(streams)), PATH, **messages.PROTOBUF)


def the_line() -> KeptLine:
    [line] = kept()
    return line


# --- Both forms -------------------------------------------------------------------------------------------------------
def test_a_line_in_json_lands(token: PushToken) -> None:
    answer = send(token, pushed(value("disk is slow", NOW, {"trace": "7f"}), labels=LABELS | {"level": "warn"}))
    assert (answer.status, answer.body) == (204, b"")
    line = the_line()
    assert (line.position.at_ns, line.text, line.level, line.source) == (NOW, "disk is slow", Level.WARNING, "nginx")
    assert line.fields == {"trace": "7f", "level": "warn"}
    assert Server.objects.get(pk=line.server_id).name == "web-1"


def test_a_line_in_protobuf_lands(token: PushToken) -> None:
    labels = '{host="web-1", job="nginx", path="C:\\\\tmp", said="a \\"b\\"\\n\\u00e9"}'
    answer = send_protobuf(token, messages.stream(labels, messages.entry(NOW, "[error] no", {"trace": "7f"})))
    assert (answer.status, answer.body) == (204, b"")
    line = the_line()
    assert (line.position.at_ns, line.text, line.level, line.source) == (NOW, "[error] no", Level.ERROR, "C:\\tmp")
    assert line.fields == {"job": "nginx", "said": 'a "b"\n\u00e9', "trace": "7f"}


@pytest.mark.parametrize("headers", [{}, {"content_type": "application/x-protobuf", "content_encoding": "snappy"}])
def test_what_is_not_called_json_is_protobuf(token: PushToken, headers: dict[str, str]) -> None:
    body = packed(messages.stream(LABELS_TEXT, messages.entry(NOW, "it works")))
    assert push(token, body, PATH, **headers).status == 204
    assert the_line().text == "it works"


def test_both_forms_may_be_packed_by_gzip(make_token: Callable[..., PushToken], transactional_db: None) -> None:
    make_token()
    application = doors.intake()
    sent = {"authorization": f"Bearer {TEXT}", "content-encoding": "gzip"}
    body = packed(messages.stream(LABELS_TEXT, messages.entry(NOW, "from protobuf")))
    answers = [
        ask(application, "POST", PATH, gzip.compress(body), sent),
        ask(
            application,
            "POST",
            PATH,
            gzip.compress(json.dumps(pushed(value("from JSON"))).encode()),
            {**sent, "content-type": "application/json"},
        ),
    ]
    assert [(answer.status, answer.body) for answer in answers] == [(204, b"")] * 2


def test_senders_that_ask_first_are_told_that_it_is_ready() -> None:
    assert ask(doors.intake(), "GET", "/ready").status == 200


@pytest.mark.parametrize("form", ["JSON", "protobuf"])
def test_the_same_body_twice_counts_once_and_the_same_line_twice_in_it_counts_twice(
    token: PushToken, form: str
) -> None:
    for _again in range(2):
        if form == "JSON":
            send(token, pushed(value(), value(), value("other")))
        else:
            entries = [messages.entry(NOW, text) for text in ("it works", "it works", "other")]
            send_protobuf(token, messages.stream(LABELS_TEXT, *entries))
    shown = {line.position: line.text for line in kept()}  # whose position is the same is shown once
    assert sorted(shown.values()) == ["it works", "it works", "other"]


# --- Who and from where -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("labels", "host", "source", "level", "fields"),
    [
        ({"instance": "db-1:9100", "job": "postgres"}, "db-1", "postgres", None, {}),
        ({"host": "a", "instance": "b", "app": "x"}, "a", "x", None, {"instance": "b"}),
        ({"hostname": "a", "unit": "ssh.service", "job": "journal"}, "a", "ssh.service", None, {"job": "journal"}),
        ({"node": "a", "container": "web", "namespace": "shop"}, "a", "web", None, {"namespace": "shop"}),
        (
            {"host": "a", "filename": "/var/log/x.log", "job": "varlogs"},
            "a",
            "/var/log/x.log",
            None,
            {"job": "varlogs"},
        ),
        ({"host": "a", "detected_level": "error"}, "a", "", Level.ERROR, {}),
        ({"host": "a", "severity": "CRITICAL"}, "a", "", Level.ERROR, {"severity": "CRITICAL"}),
        ({"host": "a", "level": "loud"}, "a", "", None, {"level": "loud"}),
        ({"host": "a", "service_name": "unknown_service", "job": "cron"}, "a", "cron", None, {}),
        ({}, "", "", None, {}),
    ],
)
def test_labels_say_server_source_and_level(
    labels: dict[str, str], host: str, source: str, level: Level | None, fields: dict[str, str]
) -> None:
    said = said_by(labels)
    assert (said.host, said.source, said.level) == (host, source, level)
    assert {name: text for name, text in said.fields.items() if name != "service_name"} == fields


def test_a_token_says_which_label_names_the_host(make_token: Callable[..., PushToken]) -> None:
    send(make_token(host_label="machine"), pushed(value(), labels={"machine": "m-1", "host": "other"}))
    assert Server.objects.get(pk=the_line().server_id).name == "m-1"


def test_fields_of_a_line_may_say_what_its_labels_do_not(token: PushToken) -> None:
    more = {"host": "web-9", "service_name": "shop", "level": "debug", "user": "7"}
    send(token, pushed(value("x", NOW, more), labels={"region": "north"}))
    line = the_line()
    assert Server.objects.get(pk=line.server_id).name == "web-9"
    assert (line.source, line.level, line.fields) == ("shop", Level.DEBUG, {"region": "north", "user": "7"})


def test_a_level_among_the_fields_is_the_lines_own(token: PushToken) -> None:
    send(token, pushed(value("x", NOW, {"level": "error", "user": "7"}), labels=LABELS | {"level": "info"}))
    assert (the_line().level, the_line().fields) == (Level.ERROR, {"user": "7"})


def test_without_a_host_the_only_server_of_the_token_is_meant(
    make_token: Callable[..., PushToken], server: Server
) -> None:
    token = make_token()
    token.servers.add(server)
    assert send(token, pushed(value(), labels={"job": "nginx"})).status == 204
    assert the_line().server_id == server.pk


def test_without_a_host_the_service_is_a_server(token: PushToken) -> None:
    assert send(token, pushed(value(), labels={"job": "fluentbit"})).status == 204
    server = Server.objects.get(pk=the_line().server_id)
    assert (server.name, server.kind) == ("fluentbit", "service")


def test_lines_for_a_server_of_another_group_are_refused_and_the_rest_is_kept(
    token: PushToken, make_server: Callable[..., Server]
) -> None:
    make_server("secret", group=ServerGroup.objects.create(name="Others"))
    said = pushed(value("mine"))
    said["streams"] += pushed(value("x"), value("y"), labels={"host": "secret"})["streams"]
    answer = send(token, said)
    assert (answer.status, answer.body["error"], answer.body["kept"]) == (400, "partly_refused", 1)
    assert answer.body["refused"] == [
        {"where": "secret", "reason": "this token may not send for this host", "count": 2}
    ]
    assert the_line().text == "mine"


def test_servers_that_join_take_room_of_the_budget(make_token: Callable[..., PushToken]) -> None:
    token = make_token(series_budget=3)
    for number in range(2):
        streams = [pushed(value(), labels={"host": f"web-{number}-{each}"})["streams"][0] for each in range(5)]
        answer = send(token, {"streams": streams})
        assert (answer.status, answer.body["kept"]) == (400, 3 if number == 0 else 0)
        assert "budget of 3 series" in answer.body["refused"][0]["reason"]
    assert Server.objects.count() == 3


def test_kept_and_refused_lines_are_counted_for_the_token(token: PushToken) -> None:
    send(token, pushed(value("a"), value("b"), value("old", 1), value("bad", "never")))
    tokens.flush()
    token.refresh_from_db()
    assert (token.lines, token.samples, token.refused) == (2, 0, 2)


def test_sources_beyond_the_limit_become_fields(token: PushToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take, "MOST_SOURCES", 3)
    streams = [pushed(value(f"line {n}"), labels={"host": "a", "app": f"app-{n}"})["streams"][0] for n in range(5)]
    assert send(token, {"streams": streams}).status == 204
    said = sorted((line.source, line.fields.get("source", "")) for line in kept())
    assert said == [("", "app-3"), ("", "app-4"), ("app-0", ""), ("app-1", ""), ("app-2", "")]


# --- What cannot be kept, one by one ----------------------------------------------------------------------------------
YEAR_1970, YEAR_2100 = 1_000_000_000, 4_102_444_800_000_000_000


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (value("x", YEAR_1970), "older than the retention"),
        (value("x", YEAR_2100), "more than 5 minutes in the future"),
        (value("x", "9" * 25), "the instant is no number"),
        (value("x", "-5"), "the instant is no number"),
        (value("x", "1e9"), "the instant is no number"),
        (value("x", None), "the instant is no number"),
        (value(None), "a value is a list"),
        (value({"a": 1}), "a value is a list"),
        (value("x", NOW, {"a": 1}), "a value is a list"),
        (value("x", NOW, {}, {}), "a value is a list"),
        ([], "a value is a list"),
        (5, "a value is a list"),
    ],
)
def test_a_bad_value_is_refused_with_the_reason_and_the_others_are_kept(
    token: PushToken, bad: Any, reason: str
) -> None:
    answer = send(token, pushed(value("before"), bad, value("after")))
    assert (answer.status, answer.body["kept"], answer.body["refused_count"]) == (400, 2, 1)
    assert reason in answer.body["refused"][0]["reason"]
    assert sorted(line.text for line in kept()) == ["after", "before"]


@pytest.mark.parametrize(
    "bad", [5, None, {}, {"stream": {}, "values": 5}, {"stream": {"a": 1}, "values": [value()]}, {"values": None}]
)
def test_a_bad_stream_is_refused_and_the_others_are_kept(token: PushToken, bad: Any) -> None:
    answer = send(token, {"streams": [bad, *pushed(value())["streams"]]})
    assert (answer.status, answer.body["kept"]) == (400, 1)
    assert the_line().text == "it works"


@pytest.mark.parametrize(
    "bad",
    [
        messages.stream("host=web-1", messages.entry(NOW, "x")),
        messages.stream("{host=web}", messages.entry(NOW, "x")),
        messages.stream(LABELS_TEXT, messages.field(2, b"\xff\xff")),
        messages.stream(LABELS_TEXT, messages.entry(-5_000_000_000, "x")),
        messages.stream(LABELS_TEXT, messages.entry(YEAR_1970, "x")),
        messages.stream(LABELS_TEXT, messages.entry(YEAR_2100 * 4, "x")),
    ],
    ids=["no braces", "no quotes", "half an entry", "before 1970", "1970", "2370"],
)
def test_what_is_wrong_in_protobuf_costs_no_other_line(token: PushToken, bad: bytes) -> None:
    answer = send_protobuf(token, bad, messages.stream(LABELS_TEXT, messages.entry(NOW, "it works")))
    assert (answer.status, answer.body["kept"], answer.body["refused_count"]) == (400, 1, 1)
    assert the_line().text == "it works"


STRANGE = {
    "NUL": "a\0b",
    "ANSI": "\x1b[31mred\x1b[0m",
    "bidi": "abc\u202edcba\u2066",
    "markup": "<script>alert(1)</script>&amp;",
    "line ends": "a\r\nb\u2028c",
    "empty": "",
    "Korean": "디스크가 가득 찼습니다",
    "private": "\ue000\U000f0000\ufffe",
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("form", ["JSON", "protobuf"])
def test_strange_text_is_kept_as_it_came(token: PushToken, text: str, form: str) -> None:
    fields = {"user": text} if text else {}
    if form == "JSON":
        assert send(token, pushed(value(text, NOW, fields))).status == 204
    else:
        assert send_protobuf(token, messages.stream(LABELS_TEXT, messages.entry(NOW, text, fields))).status == 204
    assert (the_line().text, dict(the_line().fields)) == (text, fields)


def test_a_line_of_a_megabyte_is_cut_and_says_so(token: PushToken) -> None:
    assert send(token, pushed(value("x" * (1 << 20)), value("short"))).status == 204
    long = max(kept(), key=lambda line: line.cut)
    assert (len(long.text), long.cut) == (MAX_TEXT, (1 << 20) - MAX_TEXT)


def test_bytes_that_are_no_utf8_are_replaced(token: PushToken) -> None:
    body = json.dumps(pushed(value("caf#"), value("good"))).encode().replace(b"#", b"\xe9")
    assert send(token, body).status == 204
    assert send_protobuf(token, messages.stream(LABELS_TEXT, messages.entry(NOW + 5, b"\xff\xfe tail"))).status == 204
    assert {line.text for line in kept()} == {"caf\ufffd", "good", "\ufffd\ufffd tail"}


def test_json_that_is_written_carelessly_is_read(token: PushToken) -> None:
    body = json.dumps(pushed(value("half \ud800 pair"), value("a raw # tab"))).encode().replace(b"#", b"\t\0")
    assert send(token, body).status == 204
    assert {line.text for line in kept()} == {"half \ufffd pair", "a raw \t\0 tab"}


def test_a_host_that_no_server_can_be_called_is_refused(token: PushToken) -> None:
    for host in ("a\0b", "a\nb", "x" * 500, "\u200b"):
        answer = send(token, pushed(value(), labels={"host": host}))
        assert (answer.status, answer.body["kept"]) == (400, 0)


def test_many_and_long_fields_are_cut(token: PushToken) -> None:
    more = {f"field-{number}": "x" * 5000 for number in range(80)} | {"n" * 500: "y"}
    assert send(token, pushed(value("x", NOW, more))).status == 204
    fields = the_line().fields
    assert (len(fields), fields["fields_left_out"], len(fields["field-0"])) == (50, "32", 1000)


def test_a_great_many_distinct_label_sets_are_taken_or_refused_soon(token: PushToken) -> None:
    body = b"".join(
        messages.stream(f'{{host="web-1", request="{number}"}}', messages.entry(NOW, "x")) for number in range(20_000)
    )
    assert send_protobuf(token, body).status == 204
    tiny = messages.stream("{}") * 100_001
    assert send_protobuf(token, tiny).status == 413
    assert len(kept()) == 20_000


# --- Bodies that are none ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"5",
        b'{"streams": {}}',
        b"[" * 100_000,
        b'{"streams":' * 100_000,
        b"\xff\xfe",
        b'{"streams": [',
    ],
)
def test_json_that_is_no_push_is_400_with_words(token: PushToken, body: bytes) -> None:
    answer = send(token, body)
    assert (answer.status, answer.body["kept"]) == (400, 0)
    assert len(answer.body["message"]) > 20


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"\xff\xff\xff\xff\x0f\x00", b"\x05hello", packed(b"\x12\x00")])
def test_bytes_that_are_no_push_are_refused_for_ever(token: PushToken, body: bytes) -> None:
    assert push(token, body, PATH, **messages.PROTOBUF).status in {400, 413, 415}


def test_half_a_body_is_refused(token: PushToken) -> None:
    whole = messages.stream(LABELS_TEXT, *messages.lines(NOW, "abc"))
    for length in range(1, len(whole)):
        with pytest.raises(BadBodyError):
            loki_protobuf.decode(whole[:length], "instance")
    text = json.dumps(pushed(value())).encode()
    for length in range(len(text)):
        with pytest.raises(BadBodyError):
            loki_json.decode(text[:length], "instance")


def test_bombs_are_refused_before_they_unfold(make_token: Callable[..., PushToken], transactional_db: None) -> None:
    make_token()
    application = doors.intake()
    sent = {"authorization": f"Bearer {TEXT}"}
    bombs = [
        (gzip.compress(bytes(40 << 20)), {"content-encoding": "gzip", "content-type": "application/json"}),
        (gzip.compress(bytes(40 << 20)), {"content-encoding": "gzip"}),
        (packed(bytes(40 << 20)), {}),
    ]
    assert [ask(application, "POST", PATH, body, {**sent, **more}).status for body, more in bombs] == [413] * 3


def test_snappy_around_json_is_another_type(token: PushToken) -> None:
    body = packed(json.dumps(pushed(value())).encode())
    assert push(token, body, PATH, content_type="application/json", content_encoding="snappy").status == 415


def test_json_that_is_not_called_so_is_told_how_it_is(token: PushToken) -> None:
    answer = push(token, pushed(value()), PATH, content_type="application/x-www-form-urlencoded")
    assert (answer.status, "application/json" in answer.body["message"]) == (415, True)


@pytest.mark.parametrize("path", [PATH, "/v1/logs", "/v1/metrics", "/api/v1/write"])
def test_a_slow_sender_is_to_send_again(
    make_token: Callable[..., PushToken], transactional_db: None, path: str
) -> None:
    make_token()
    application = doors.intake()
    application._patience = Patience(whole_s=0.05, piece_s=0.05, linger_s=0.01)
    sent = {"authorization": f"Bearer {TEXT}"}
    assert ask(application, "POST", path, b"half", sent, hangs=True).status == 503


def test_what_postgresql_does_not_take_is_to_be_sent_again(
    make_token: Callable[..., PushToken], transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the connection is lost")

    make_token()
    monkeypatch.setattr(take, "record", away)
    sent = {"authorization": f"Bearer {TEXT}", "content-type": "application/json"}
    answer = ask(doors.intake(), "POST", PATH, json.dumps(pushed(value())).encode(), sent)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_push_or_refused(body: bytes) -> None:
    for decode in (loki_json.decode, loki_protobuf.decode):
        with contextlib.suppress(BadBodyError):
            decode(body, "instance")


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXTS.filter(str.isidentifier), TEXTS, max_size=4), st.lists(TEXTS, max_size=5))
def test_both_forms_say_the_same(labels: dict[str, str], texts: list[str]) -> None:
    quoted = ", ".join(f"{name}={json.dumps(text, ensure_ascii=False)}" for name, text in labels.items())
    whole = messages.stream(f"{{{quoted}}}", *messages.lines(NOW, texts))
    [from_wire] = loki_protobuf.decode(whole, "instance").made
    values = [value(text, NOW + number) for number, text in enumerate(texts)]
    [from_text] = loki_json.decode(json.dumps(pushed(*values, labels=labels)).encode(), "instance").made
    assert from_wire == from_text
