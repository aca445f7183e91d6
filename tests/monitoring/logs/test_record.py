"""What becomes of lines that are offered: kept as they are, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from monitoring.logs.line import MAX_TEXT, Level, Line, Refusal
from monitoring.logs.record import record
from monitoring.models import LogBlock, Server
from tests.monitoring.logs.conftest import SECOND_NS, kept

pytestmark = pytest.mark.django_db
Make = Callable[..., Line]

DAY_S = 86_400


def test_a_line_is_kept_with_all_that_it_says(line: Make) -> None:
    offered = line("안녕 <b> %s \x1b[31m", level=Level.ERROR, source="nginx", fields={"b": "2", "a": "1"})
    record([offered], origin="test")
    (found,) = kept()
    assert found[1:] == (*offered[:1], *offered[2:4], offered.text, {"a": "1", "b": "2"}, 0)
    assert found.position.at_ns == offered.at_ns


def test_lines_come_back_in_the_order_of_their_instants(line: Make) -> None:
    record([line(f"number {ago}", ago_s=ago) for ago in (5, 9, 1, 7)], origin="test")
    assert [found.text for found in kept()] == ["number 9", "number 7", "number 5", "number 1"]


def test_what_is_repeated_is_kept_once(line: Make) -> None:
    lines = [line("first"), line("second")]
    assert record(lines, origin="test").kept == record(lines, origin="test").kept == 2
    assert LogBlock.objects.count() == 1


def test_a_push_that_touches_two_days_is_a_block_of_each(line: Make, now_ns: int) -> None:
    midnight = now_ns // (DAY_S * SECOND_NS) * DAY_S * SECOND_NS
    record([line("yesterday", at_ns=midnight - 1), line("today", at_ns=midnight)], origin="test")
    days = LogBlock.objects.order_by("day").values_list("day", "count")
    assert [count for _, count in days] == [1, 1]
    assert [found.text for found in kept()] == ["yesterday", "today"]


@pytest.mark.parametrize(
    ("ago_s", "reason"),
    [
        (-301, "more than 5 minutes in the future"),
        (-80 * 365 * DAY_S, "more than 5 minutes in the future"),
        (31 * DAY_S, "older than the retention of 30 days"),
        (55 * 365 * DAY_S, "older than the retention of 30 days"),
        (1e12, "older than the retention of 30 days"),
        (-1e12, "more than 5 minutes in the future"),
    ],
)
def test_a_line_of_another_time_is_refused_and_the_others_are_kept(line: Make, ago_s: float, reason: str) -> None:
    result = record([line("good"), line("bad", ago_s=ago_s), line("good too")], origin="test")
    assert (result.kept, result.refused) == (2, [Refusal(1, reason)])


def test_a_line_of_an_unknown_server_is_refused(line: Make) -> None:
    result = record([line(server_id=987_654_321), line()], origin="test")
    assert (result.kept, result.refused) == (1, [Refusal(0, "there is no such server")])


def test_a_line_too_long_is_cut_inside_no_character_and_says_so(line: Make) -> None:
    result = record([line("가" * 400_000)], origin="test")
    (found,) = kept()
    assert (result.kept, result.cut) == (1, 1)
    assert found.text == "가" * (MAX_TEXT // 3)
    assert found.cut == 1_200_000 - len(found.text.encode())


@pytest.mark.parametrize("text", ["", "\0", "a\0b\n\r\tc", "\u202eevil", "\x85\u2028", "ÿ\xff", "🙂" * 3])
def test_any_text_comes_back_as_it_was(line: Make, text: str) -> None:
    record([line(text, fields={"name": text}), line("another")], origin="test")
    assert {(found.text, found.fields.get("name")) for found in kept()} == {(text, text), ("another", None)}


def test_lone_surrogates_are_replaced(line: Make) -> None:
    record([line("a\ud800b\udfff", source="s\udc80", fields={"n\ud800": "v\udcff"})], origin="test")
    (found,) = kept()
    assert (found.text, found.source, found.fields) == ("a�b�", "s�", {"n�": "v�"})


def test_fields_beyond_the_limits_are_left_out_or_shortened(line: Make) -> None:
    record([line(fields={f"{number:03}" + "n" * 200: "v" * 2000 for number in range(60)})], origin="test")
    (found,) = kept()
    assert len(found.fields) == 50
    assert {(len(name), len(value)) for name, value in found.fields.items()} == {(100, 1000)}


def test_no_lines_are_no_trouble(server: Server) -> None:
    assert record([], origin="test").kept == 0
