"""The filter of the page of logs: what the address says, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.http import QueryDict

from monitoring.log_filter import LogFilter, position_in
from monitoring.logs.ask import Ask
from monitoring.logs.line import Level, Position

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALL = (
    "level=warning&level=error&server=3&server=12&source=app&source=nginx%2Faccess"
    "&from=2026-11-21T10%3A00%3A00.250000Z&to=2026-11-21T11%3A00%3A00Z&q=%22timed+out%22+-health&fold=1"
)


def read(address: str, own_zone: str = "") -> LogFilter:
    return LogFilter.read(QueryDict(address), own_zone)


def test_an_address_and_its_filter_say_the_same() -> None:
    assert read(ALL).query == ALL


def test_an_address_asks_for_what_it_says() -> None:
    start = 1_795_255_200 * 10**9

    assert read(ALL).ask(NOW) == Ask(
        levels=frozenset({Level.WARNING, Level.ERROR}),
        servers=frozenset({3, 12}),
        sources=frozenset({"app", "nginx/access"}),
        start_ns=start + 250_000_000,
        end_ns=start + 3600 * 10**9,
        words='"timed out" -health',
    )


def test_a_range_goes_on_until_now_and_beyond() -> None:
    asked = read("range=6h").ask(NOW)

    assert asked == Ask(start_ns=int((NOW - timedelta(hours=6)).timestamp()) * 10**9, end_ns=None)


def test_nothing_asked_for_is_everything() -> None:
    assert read("").ask(NOW) == Ask()
    assert not read("").narrows
    assert read("").query == ""


def test_instants_without_a_zone_are_the_persons_own_else_the_browsers() -> None:
    assert read("from=2026-11-21T09:00&zone=UTC", "Asia/Seoul").query == "from=2026-11-21T00%3A00%3A00Z"
    assert read("from=2026-11-21T09:00&zone=Asia/Seoul").query == "from=2026-11-21T00%3A00%3A00Z"


@pytest.mark.parametrize(
    "address",
    [
        "level=loud&level=",
        "server=x&server=-1&server=%D9%A3&server=" + "9" * 30,
        "source=&source=%00&source=" + "s" * 101,
        "range=9y",
        "from=yesterday&to=2026-99-01",
        "from=0001-01-01T00:00&zone=Asia/Seoul",
        "q=%00++",
        "at=7&at=x-y",
        "at=1-2-3",
        "at=-1-5",
        "at=1-" + "9" * 20,
        "at=" + "1" * 5000 + "-1",
        "fold=yes",
    ],
)
def test_what_is_not_understood_is_left_out(address: str) -> None:
    assert read(address) == LogFilter()


def test_repeated_words_are_counted_once_and_many_are_cut() -> None:
    wanted = read("&".join(f"server={number}" for number in range(900)) + "&level=error&level=error")

    assert len(wanted.servers) == 200
    assert wanted.levels == {Level.ERROR}


def test_a_line_to_open_at_is_not_part_of_what_is_asked() -> None:
    wanted = read("level=error&at=1790000000000000000-17")

    assert wanted.at == Position(1790000000000000000, 17)
    assert wanted.query == "level=error"


def test_other_positions_are_read_by_their_names() -> None:
    assert position_in(QueryDict("older=5-6"), "older") == Position(5, 6)
    assert position_in(QueryDict("older=5-6"), "newer") is None
    assert position_in(QueryDict("older=five"), "older") is None
