from __future__ import annotations

import pytest
from django.utils import translation

from monitoring.logs.line import Level
from monitoring.logs.query import LevelTerm, NameTerm, Query, QueryError, WordsTerm, parse


def word(*words: str, prefix: bool = False, field: str | None = None) -> WordsTerm:
    return WordsTerm(words, prefix, field)


def test_nothing_typed_asks_for_every_line() -> None:
    assert parse("  ") == Query()


def test_words_have_all_to_be_there() -> None:
    assert parse("Connection refused") == Query(((word("connection"),), (word("refused"),)))


def test_quoted_words_are_a_phrase() -> None:
    assert parse('"Connection refused" “by peer”') == Query(((word("connection", "refused"),), (word("by", "peer"),)))


def test_what_has_no_space_is_a_phrase() -> None:
    assert parse("10.0.0.7 CPU가") == Query(((word("10", "0", "0", "7"),), (word("cpu", "가"),)))


def test_a_star_leaves_the_end_open() -> None:
    assert parse('conn* "time out"*') == Query(((word("conn", prefix=True),), (word("time", "out", prefix=True),)))


def test_a_minus_excludes() -> None:
    assert parse('-healthcheck -"kube probe"').excluded == (word("healthcheck"), word("kube", "probe"))


def test_or_stands_between_two() -> None:
    assert parse("error timeout OR refused OR reset").groups == (
        (word("error"),),
        (word("timeout"), word("refused"), word("reset")),
    )


def test_a_field_is_looked_for_in_fields_and_as_texts_write_it() -> None:
    assert parse('status:500 msg:"a b"').groups == (
        (word("500", field="status"), word("status", "500")),
        (word("a", "b", field="msg"), word("msg", "a", "b")),
    )


def test_a_field_may_only_have_to_be_there() -> None:
    assert parse("trace_id:*").groups == ((word(prefix=True, field="trace_id"),),)


def test_level_source_and_server_are_no_fields() -> None:
    assert parse("level:err source:Nginx server:web-*").groups == (
        (LevelTerm(Level.ERROR),),
        (NameTerm(False, "nginx", False),),
        (NameTerm(True, "web-", True),),
    )


@pytest.mark.parametrize("pasted", ["http://shop/x", "12:30:05", "std::move", "TypeError: x", "a -> b", "=== c"])
def test_what_people_paste_is_understood(pasted: str) -> None:
    terms = [term for group in parse(pasted).groups for term in group]

    assert terms
    assert all(isinstance(term, WordsTerm) and term.field is None for term in terms)
    assert not parse(pasted).excluded


@pytest.mark.parametrize(
    ("words", "position"),
    [
        ('error "not closed', 6),
        ("OR error", 0),
        ("error OR", 6),
        ("a OR OR b", 5),
        ("a -b OR c", 5),
        ("a OR -b", 5),
        ('a "--"', 2),
        ("a *", 2),
        ("level:loud", 0),
        ("->", 0),
        ("x" * 501, 500),
    ],
)
def test_it_says_where_it_cannot_be_understood(words: str, position: int) -> None:
    with pytest.raises(QueryError) as refused:
        parse(words)

    assert refused.value.position == position


def test_it_says_what_is_wrong() -> None:
    with translation.override("en"), pytest.raises(QueryError) as refused:
        parse('error "not closed')

    assert str(refused.value) == "Character 7: this quote is not closed."


def test_too_many_parts_are_refused() -> None:
    with pytest.raises(QueryError):
        parse(" ".join(f"w{number}" for number in range(30)))


def test_what_was_found_is_marked() -> None:
    marks = parse('"time out" conn* -other status:500 서버').highlights

    assert marks is not None
    assert marks.findall("Time-Out in CONNECTION timeout other 500 서버가 status=500") == [
        "Time-Out",
        "CONN",
        "서버",
        "status=500",
    ]


def test_nothing_is_marked_when_nothing_was_looked_for() -> None:
    assert parse("-other level:error").highlights is None
