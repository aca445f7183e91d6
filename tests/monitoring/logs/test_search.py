from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.logs import columns, merge, read, search, sieve
from monitoring.logs.ansi import without_ansi
from monitoring.logs.ask import Ask, Page
from monitoring.logs.line import KeptLine, Level, Line, Position
from monitoring.logs.query import LevelTerm, NameTerm, Term, WordsTerm, parse
from monitoring.logs.record import record
from monitoring.logs.words import folded, is_hangul, words_of
from monitoring.models import Server, ServerGroup
from tests.monitoring.logs.conftest import SECOND_NS, kept

pytestmark = pytest.mark.usefixtures("committed_logs")

WORDS = (
    "error",
    "Error",
    "timeout",
    "connection",
    "refused",
    "conn",
    "connected",
    "GET",
    "/api/orders",
    "500",
    "status=500",
    "user_id",
    "10.0.0.7",
    "x",
    "서버",
    "서버가",
    "서버는",
    "연결",
    "연결이",
    "CPU가",
    "데이터베이스",
    "été",
    "ÉTÉ",
    "straße",
    "日本語",
    "\x1b[31mred\x1b[0m",
    "a-b",
    "\x01mark",
)
SEARCHES = (
    "",
    "error",
    "connection refused",
    '"connection refused"',
    "conn*",
    "co*",
    "error OR timeout -refused",
    "서버",
    '"서버 연결"',
    "cpu",
    "CPU가",
    "été",
    "STRASSE",
    "日本語",
    "red",
    "31mred",
    "mark",
    "status:500",
    "status:5*",
    "status:*",
    'path:"api orders"',
    "사용자:김*",
    "10.0.0.7",
    "/api/orders -500",
    "level:error OR source:nginx",
    "level:error x",
    "server:web-2 error",
    "-server:web* error",
    "nowhere",
    "error nowhere OR timeout",
    '"refused connection" OR "a b"',
)


@pytest.fixture
def servers() -> list[int]:
    group = ServerGroup.objects.create(name="web")
    made = [Server.objects.create(name=f"server {number}", group=group) for number in range(3)]
    for server in made:
        server.name = f"web-{server.pk}"
        server.save()
    return [server.pk for server in made]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LINES_A_BLOCK", 40)
    monkeypatch.setattr(merge, "LINES_A_BLOCK", 40)
    monkeypatch.setattr(sieve, "BLOCKS", 4)


@pytest.fixture
def lines(servers: list[int], now_ns: int, small_blocks: None) -> list[KeptLine]:
    """All sorts of lines, some merged and found by sieves, some merged, some as they were pushed."""
    chosen = random.Random(11)
    for pushes in (8, 3, 2):
        for _ in range(pushes):
            record([_line(chosen, servers, now_ns) for _ in range(60)], origin="test")
        if pushes > 2:
            merge.merge_due(datetime.now(UTC) + timedelta(minutes=1))
    read.forget()
    return sorted({line.position: line for line in kept()}.values(), reverse=True)


def _line(chosen: random.Random, servers: list[int], now_ns: int) -> Line:
    text = " ".join(chosen.choices(WORDS, k=chosen.randrange(1, 7)))
    if chosen.random() < 0.2:
        text = unicodedata.normalize("NFD", text)
    fields = {
        "Status": chosen.choice(("200", "500", "503")),
        "path": chosen.choice(("/api/orders", "/api\n/orders/7", 'say "api" orders')),
        "사용자": chosen.choice(("김철수", "이영희님")),
    }
    return Line(
        chosen.choice(servers),
        # Few instants, so that some lines share theirs, over two days.
        now_ns - chosen.randrange(400) * 400 * SECOND_NS,
        chosen.choice(list(Level)),
        chosen.choice(("nginx", "앱")),
        text,
        dict(chosen.sample(sorted(fields.items()), chosen.randrange(3))),
    )


# --- What a search means, by looking at every line --------------------------------------------------------------------
def _expected(lines: list[KeptLine], ask: Ask, servers: frozenset[int] | None) -> list[KeptLine]:
    return [line for line in lines if (servers is None or line.server_id in servers) and _fits(line, ask)]


def _fits(line: KeptLine, ask: Ask) -> bool:
    query = parse(ask.words)
    return (
        (not ask.levels or line.level in ask.levels)
        and (not ask.servers or line.server_id in ask.servers)
        and (not ask.sources or line.source in ask.sources)
        and (ask.start_ns is None or line.position.at_ns >= ask.start_ns)
        and (ask.end_ns is None or line.position.at_ns < ask.end_ns)
        and all(any(_has(line, term) for term in group) for group in query.groups)
        and not any(_has(line, term) for term in query.excluded)
    )


def _has(line: KeptLine, term: Term) -> bool:
    if isinstance(term, LevelTerm):
        return line.level == term.level
    if isinstance(term, NameTerm):
        return term.fits(f"web-{line.server_id}" if term.of_server else line.source)
    if term.field is None:
        places = [without_ansi(line.text), *line.fields.values()]
    else:
        places = [value for name, value in line.fields.items() if folded(name) == term.field]
    return any(_stands_in(words_of(folded(place)), term) for place in places)


def _stands_in(words: list[str], term: WordsTerm) -> bool:
    count = len(term.words)
    return any(
        all(_is(found, word, term) for found, word in zip(words[start : start + count], term.words, strict=True))
        for start in range(len(words) - count + 1)
    )


def _is(found: str, word: str, term: WordsTerm) -> bool:
    is_open = is_hangul(word) or (term.is_prefix and word is term.words[-1])
    return found.startswith(word) if is_open else found == word


def _all_older(ask: Ask, servers: frozenset[int] | None, limit: int) -> list[KeptLine]:
    found: list[KeptLine] = []
    page = search.search(ask, servers=servers, limit=limit)
    while page.lines:
        found += page.lines
        assert page.has_older or len(page.lines) <= limit
        page = search.search(ask, servers=servers, limit=limit, older_than=found[-1].position)
    return found


# --- Tests ------------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(transaction=True)
def test_every_search_finds_what_looking_at_every_line_finds(lines: list[KeptLine], servers: list[int]) -> None:
    chosen = random.Random(5)
    assert {3} < _tiers()
    for words in SEARCHES:
        for ask, of in _asks(chosen, words, lines, servers):
            assert _all_older(ask, of, chosen.choice((3, 50, 1000))) == _expected(lines, ask, of), (ask, of)


def _tiers() -> set[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT tier FROM monitoring_logblock")
        return {row[0] for row in cursor.fetchall()} | {3}


def _asks(
    chosen: random.Random, words: str, lines: list[KeptLine], servers: list[int]
) -> Iterator[tuple[Ask, frozenset[int] | None]]:
    yield Ask(words=words), None
    instants = sorted(chosen.choice(lines).position.at_ns for _ in range(2))
    yield Ask(words=words, start_ns=instants[0], end_ns=instants[1]), frozenset(servers[:2])
    yield (
        Ask(
            words=words,
            levels=frozenset(chosen.sample(list(Level), 2)),
            servers=frozenset(chosen.sample(servers, 2)),
            sources=frozenset({"앱"}) if chosen.random() < 0.5 else frozenset(),
        ),
        frozenset(servers[1:]),
    )


@pytest.mark.django_db(transaction=True)
def test_pages_of_newer_lines_are_those_next_to_where_one_is(lines: list[KeptLine]) -> None:
    ask = Ask(words="error")
    expected = _expected(lines, ask, None)
    at = expected[-1].position
    found = [expected[-1]]
    while (page := search.search(ask, servers=None, newer_than=at, limit=4)).lines:
        assert page.has_older
        found = [*page.lines, *found]
        at = page.lines[0].position

    assert not page.has_newer
    assert found == expected


@pytest.mark.django_db(transaction=True)
def test_a_page_says_whether_there_is_more(lines: list[KeptLine]) -> None:
    all_of_it = search.search(Ask(), servers=None, limit=len(lines))
    less = search.search(Ask(), servers=None, limit=len(lines) - 1)

    assert not all_of_it.has_older
    assert less.has_older
    assert not less.has_newer


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_newest_first", [True, False])
def test_a_search_that_takes_too_long_says_how_far_it_came_and_goes_on(
    lines: list[KeptLine], monkeypatch: pytest.MonkeyPatch, is_newest_first: bool
) -> None:
    monkeypatch.setattr(search, "MOST_BLOCKS", 1)
    ask = Ask(words="error -timeout")
    expected = _expected(lines, ask, None)
    side: dict[str, Any] = {} if is_newest_first else {"newer_than": Position(0, 0)}
    found: list[KeptLine] = []
    stops = 0
    while stops < 100:
        page: Page = search.search(ask, servers=None, limit=1000, deadline_s=0, **side)
        found = [*found, *page.lines] if is_newest_first else [*page.lines, *found]
        if page.searched_to is None:
            break
        stops += 1
        side = {"older_than" if is_newest_first else "newer_than": page.searched_to}

    assert 3 < stops < 100
    assert found == expected


@pytest.mark.django_db(transaction=True)
def test_a_line_is_found_by_its_position(lines: list[KeptLine], servers: list[int]) -> None:
    for line in random.Random(1).sample(lines, 20):
        assert search.line_at(line.position, servers=None) == line
        assert search.line_at(line.position, servers=frozenset({line.server_id})) == line
        assert search.line_at(line.position, servers=frozenset(servers) - {line.server_id}) is None
        assert search.line_at(Position(line.position.at_ns, 1), servers=None) is None


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("same_source", [True, False])
def test_context_is_the_lines_of_the_same_server(lines: list[KeptLine], same_source: bool) -> None:
    line = lines[len(lines) // 2]
    alike = [
        each for each in lines if each.server_id == line.server_id and (not same_source or each.source == line.source)
    ]
    place = alike.index(line)

    page = search.context(line.position, servers=None, before=5, after=3, same_source=same_source)

    assert page.lines == alike[place - 3 : place + 6]


@pytest.mark.django_db(transaction=True)
def test_context_of_a_line_of_other_people_is_nothing(lines: list[KeptLine]) -> None:
    assert search.context(lines[0].position, servers=frozenset()).lines == []


@pytest.mark.django_db(transaction=True)
def test_lines_that_came_twice_are_found_once(line: Callable[..., Line]) -> None:
    same = line("the same")
    for other in ("one", "two"):
        record([same, line(other)], origin="test")

    assert [each.text for each in search.search(Ask(words="same"), servers=None).lines] == ["the same"]


@pytest.mark.django_db(transaction=True)
def test_the_newest_page_asks_little(lines: list[KeptLine]) -> None:
    with CaptureQueriesContext(connection) as asked:
        search.search(Ask(), servers=None)

    assert len(asked) <= 12


@pytest.mark.django_db(transaction=True)
def test_an_ask_for_nobodys_lines_asks_nothing(lines: list[KeptLine], servers: list[int]) -> None:
    ask = Ask(servers=frozenset(servers[:1]))

    assert search.search(replace(ask, words="x"), servers=frozenset(servers[1:])).lines == []


@pytest.mark.django_db(transaction=True)
def test_a_tail_begins_with_nothing_and_brings_what_arrives(line: Callable[..., Line]) -> None:
    record([line("before")], origin="test")
    begun = search.tail(Ask(), servers=None, cursor="")
    record([line("one", ago_s=5), line("two", ago_s=4), line("other error", level=Level.ERROR)], origin="test")

    every = search.tail(Ask(), servers=None, cursor=begun.cursor)
    some = search.tail(Ask(words="other"), servers=None, cursor=begun.cursor)
    after = search.tail(Ask(), servers=None, cursor=every.cursor)

    assert (begun.lines, begun.is_gap) == ([], False)
    assert [each.text for each in every.lines] == ["two", "one", "other error"]
    assert [each.text for each in some.lines] == ["other error"]
    assert after.lines == []


@pytest.mark.django_db(transaction=True)
def test_a_tail_brings_the_newest_and_says_how_many_it_left_out(line: Callable[..., Line]) -> None:
    cursor = search.tail(Ask(), servers=None, cursor="").cursor
    record([line(f"line {number}", ago_s=100 - number) for number in range(9)], origin="test")

    found = search.tail(Ask(), servers=None, cursor=cursor, limit=2)

    assert [each.text for each in found.lines] == ["line 8", "line 7"]
    assert found.left_out == 7


@pytest.mark.django_db(transaction=True)
def test_a_tail_brings_what_began_earlier_and_is_committed_late(line: Callable[..., Line]) -> None:
    record([line("late")], origin="test")
    slow = connection.copy()
    slow.set_autocommit(False)
    with slow.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO monitoring_logblock (first_ns, last_ns, day, count, tier, levels, servers, head, body)
            SELECT first_ns, last_ns, day, count, tier, levels, servers, head, body FROM monitoring_logblock
            """
        )
    record([line("meanwhile")], origin="test")
    begun = search.tail(Ask(), servers=None, cursor="")
    slow.commit()
    slow.close()

    assert [each.text for each in search.tail(Ask(), servers=None, cursor=begun.cursor).lines] == ["late"]


@pytest.mark.django_db(transaction=True)
def test_a_tail_that_slept_too_long_has_a_gap(line: Callable[..., Line]) -> None:
    begun = search.tail(Ask(), servers=None, cursor="")
    record([line("merged meanwhile")], origin="test")
    merge.merge_due(datetime.now(UTC) + timedelta(minutes=1))

    assert search.tail(Ask(), servers=None, cursor=begun.cursor).is_gap


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cursor", ["x", "1:2", "9:1:", "1:5:9", "1:5:3,2", "1:5:'", "0:0:", "9" * 30 + ":1:"])
def test_a_cursor_that_is_none_is_a_gap(cursor: str) -> None:
    found = search.tail(Ask(), servers=None, cursor=cursor)

    assert found.is_gap
    assert not search.tail(Ask(), servers=None, cursor=found.cursor).is_gap
