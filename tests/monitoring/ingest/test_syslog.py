"""Messages of syslog: RFC 5424, RFC 3164, how TCP frames them, what clocks without year and zone mean, who may send."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.ingest import syslog_senders
from monitoring.ingest.syslog import Clocks, Said, instant_ns, parse
from monitoring.ingest.syslog_frames import Frames
from monitoring.logs.line import Level
from portal.toolkit.instants import zone_named

NOW = datetime(2026, 11, 21, 20, 0, 30, tzinfo=UTC)


def said(message: str) -> Said:
    return parse(message, NOW)


# --- RFC 5424 ---------------------------------------------------------------------------------------------------------
def test_a_message_of_rfc_5424_says_everything() -> None:
    message = said(
        '<165>1 2026-11-21T20:00:00.123456789+09:00 web-1.example.org shop 77 ID47 [auth@32473 user="a \\"b\\" \\]" '
        'n="7"][origin ip="10.0.0.1"] \ufeffit works'
    )
    assert (message.host, message.source, message.level, message.text) == (
        "web-1.example.org",
        "shop",
        Level.INFO,
        "it works",
    )
    assert message.at == datetime(2026, 11, 21, 11, 0, 0, 123456, tzinfo=UTC)
    assert (message.extra_ns, message.is_coarse) == (789, False)
    assert message.fields == {
        "facility": "local4",
        "pid": "77",
        "msgid": "ID47",
        "user": 'a "b" ]',
        "n": "7",
        "ip": "10.0.0.1",
    }


@pytest.mark.parametrize(
    ("message", "text", "fields"),
    [
        ("<11>1 - - - - - -", "", {}),
        ("<11>1 - - - - - - x", "x", {}),
        ("<11>1 - - - - - [a] x", "x", {}),
        ("<11>1 - - - - -  x", "x", {}),
        ("<11>1 - - - - - -     at line 5", "    at line 5", {}),
        ('<11>1 - - - - - [a b=""] x', "x", {"b": ""}),
        ('<11>1 - - - - - [a n="1"][b n="2"] x', "x", {"n": "1", "b.n": "2"}),
        ('<11>1 - - - - - [a n="cut', '[a n="cut', {}),
        ("<11>1 - - - - - no data", "no data", {}),
    ],
)
def test_structured_data_are_fields_and_what_is_none_is_text(message: str, text: str, fields: dict[str, str]) -> None:
    found = said(message)
    assert (found.text, found.fields, found.at) == (text, {"facility": "user"} | fields, None)


def test_a_leap_second_is_the_one_before() -> None:
    assert said("<11>1 2016-12-31T23:59:60Z a b - - - x").at == datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)


# --- RFC 3164 ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("message", "host", "source", "pid", "text"),
    [
        ("<34>Nov 21 20:00:00 web-1 sshd[77]: Accepted key", "web-1", "sshd", "77", "Accepted key"),
        ("<34>Nov  1 20:00:00 web-1 kernel: oops: x", "web-1", "kernel", "", "oops: x"),
        ("<34>Nov 21 20:00:00 app[7]: no host", "", "app", "7", "no host"),
        ("<34>Nov 21 2026 20:00:00 10.0.0.1 %ASA-6-302013: Built", "10.0.0.1", "%ASA-6-302013", "", "Built"),
        ("<34>2026-11-21T20:00:00.123+09:00 web-1 app: hello", "web-1", "app", "", "hello"),
        ("<189>45: *Nov 21 20:00:00.123: %SYS-5-CONFIG_I: Configured", "", "%SYS-5-CONFIG_I", "", "Configured"),
        ("<34>su: failed", "", "su", "", "failed"),
        ("<34>nothing that is known", "", "", "", "nothing that is known"),
        ("no priority either", "", "", "", "no priority either"),
        ("<999>Nov 21 20:00:00 h a: b", "", "", "", "<999>Nov 21 20:00:00 h a: b"),
        ("<>", "", "", "", "<>"),
    ],
)
def test_a_message_of_rfc_3164_says_what_it_says(message: str, host: str, source: str, pid: str, text: str) -> None:
    found = said(message)
    assert (found.host, found.source, found.fields.get("pid", ""), found.text) == (host, source, pid, text)


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("Nov 21 20:00:00", datetime(2026, 11, 21, 20, 0)),  # noqa: DTZ001 (the clock names no zone)
        ("Jan  1 00:00:00", datetime(2027, 1, 1)),  # noqa: DTZ001
        ("Jun  1 00:00:00", datetime(2026, 6, 1)),  # noqa: DTZ001
        ("Feb 29 12:00:00", None),
        ("Nov 31 12:00:00", None),
        ("Nov 21 99:00:00", None),
    ],
)
def test_the_year_is_the_one_that_brings_it_nearest(stamp: str, at: datetime | None) -> None:
    assert said(f"<34>{stamp} h a: x").at == at


def test_the_level_is_the_priority_s_or_the_line_s() -> None:
    messages = ("<3>a: x", "<12>a: x", "<191>a: ERROR x", "error: x", "x")
    assert [said(message).level for message in messages] == [
        Level.ERROR,
        Level.WARNING,
        Level.DEBUG,
        Level.INFO,
        Level.INFO,
    ]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=100), st.from_regex(r"<\d{1,3}>(1 )?[ -~]{0,80}", fullmatch=True)))
def test_any_text_is_a_message(text: str) -> None:
    assert isinstance(said(text), Said)


# --- Clocks -----------------------------------------------------------------------------------------------------------
def of_clock(clocks: Clocks, stamp: str, now: datetime = NOW, sender: str = "a") -> tuple[datetime, bool]:
    at_ns, is_said = clocks.instant_ns(sender, parse(f"<34>{stamp} h a: x", now), now)
    return datetime.fromtimestamp(at_ns / 1e9, UTC).replace(microsecond=0), is_said


def test_a_clock_without_a_zone_shows_the_zone_of_the_settings() -> None:
    seoul = Clocks(zone_named("Asia/Seoul"))
    assert of_clock(seoul, "Nov 22 05:00:00") == (NOW.replace(second=0), True)


def test_a_clock_that_is_ahead_by_hours_is_in_another_zone_and_stays_in_it() -> None:
    clocks = Clocks(UTC)
    assert of_clock(clocks, "Nov 22 05:00:25") == (NOW.replace(second=25), True)
    an_hour_ago = (NOW - timedelta(hours=1)).replace(second=25)
    assert of_clock(clocks, "Nov 22 04:00:25") == (an_hour_ago, True)
    assert of_clock(clocks, "Nov 21 20:00:25") == (NOW.replace(second=25), True)  # somebody has put it right


def test_a_message_that_waited_keeps_its_time() -> None:
    assert of_clock(Clocks(UTC), "Nov 21 17:00:00") == (NOW.replace(hour=17, second=0), True)


@pytest.mark.parametrize("stamp", ["1970-01-01T00:00:07Z", "2100-01-01T00:00:00Z", "Jun  1 12:00:00"])
def test_a_clock_that_is_plainly_wrong_does_not_count(stamp: str) -> None:
    assert of_clock(Clocks(UTC), stamp) == (NOW, False)


def test_lines_of_one_second_stay_apart_and_in_their_order() -> None:
    clocks = Clocks(UTC)
    message = parse("<34>Nov 21 20:00:00 h a: x", NOW)
    instants = [clocks.instant_ns("a", message, NOW)[0] for _ in range(3)]
    first = instant_ns(NOW.replace(second=0))
    assert instants == [first, first + 1000, first + 2000]


# --- Framing ----------------------------------------------------------------------------------------------------------
def in_pieces(stream: bytes, size: int, most: int = 1 << 20) -> list[bytes]:
    frames = Frames(most)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    return [message for piece in pieces for message in frames.feed(piece)] + frames.end()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_are_found_however_the_bytes_come(size: int) -> None:
    stream = b"5 <1>ab<2>line\r\n<3>nul\0\n\n12 <4>with\nend\n<5>last\n<6>cut"
    found = [b"<1>ab", b"<2>line", b"<3>nul", b"<4>with\nend\n", b"<5>last", b"<6>cut"]
    assert in_pieces(stream, size) == found


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("stream", [b"20 <1>6789012345678901<2>x\n", b"<1>6789012345678901\n<2>x\n"])
def test_of_a_message_that_is_too_long_the_start_is_taken(stream: bytes, size: int) -> None:
    if stream.startswith(b"20 "):
        stream = b"20 <1>67890123456789012<2>x\n"
    assert in_pieces(stream, size, most=8) == [b"<1>67890", b"<2>x"]


def test_a_line_that_begins_with_a_number_is_a_line() -> None:
    assert in_pieces(b"12 monkeys\n2026-11-21 x\n1234567890123\n", 4) == [
        b"12 monkeys",
        b"2026-11-21 x",
        b"1234567890123",
    ]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_are_taken_apart_the_same_in_any_pieces(stream: bytes, size: int) -> None:
    assert in_pieces(stream, size) == in_pieces(stream, 1000)


# --- Who may send -----------------------------------------------------------------------------------------------------
def test_the_smallest_network_decides_and_nobody_else_may() -> None:
    senders = syslog_senders.Senders(syslog_senders.parse(["10.0.0.0/8=all", "10.1.0.0/16=some", "fd00::/8=six"]))
    peers = ["10.2.0.1", "10.1.0.1", "::ffff:10.1.0.1", "fd00::7", "192.168.0.1", "::1", "nobody", ""]
    assert [senders.token_name(peer) for peer in peers] == ["all", "some", "some", "six", None, None, None, None]


def test_by_default_nobody_may() -> None:
    assert syslog_senders.Senders([]).token_name("127.0.0.1") is None


@pytest.mark.parametrize("word", ["10.0.0.0/8", "10.0.0.0/8=", "10.0.0.1/8=x", "everybody=x", "=x"])
def test_what_names_no_network_or_no_token_is_refused_in_words(word: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="PORTAL_SYSLOG_ALLOW"):
        syslog_senders.parse([word])
