"""`GET /api/monitoring/logs`: what programs read of logs."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from monitoring.logs.line import Level, Line
from monitoring.logs.record import record
from monitoring.models import Server
from tests.cast import Cast, make_cast, sign_in
from tests.monitoring.logs.conftest import SECOND_NS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

WHERE = "/api/monitoring/logs"


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def reader(cast: Cast) -> Client:
    return sign_in(cast.reader)


@pytest.fixture
def lines(cast: Cast, now_ns: int) -> list[Line]:
    """Ten lines, a second apart, the newest last."""
    made = [
        Line(
            cast.server.pk,
            now_ns - (60 - number) * SECOND_NS + number,
            Level.ERROR if number % 2 else Level.INFO,
            "app" if number < 5 else "nginx",
            f"order {number} \x1b[31mtimed out\x1b[0m",
            {"trace": f"t{number}"},
        )
        for number in range(10)
    ]
    record(made, origin="test")
    return made


def texts(answer: dict[str, Any]) -> list[str]:
    return [line["text"].split()[1] for line in answer["lines"]]


def asked(browser: Client, **query: Any) -> dict[str, Any]:
    response = browser.get(WHERE, query)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def test_a_line_is_told_as_it_is_kept(reader: Client, cast: Cast, lines: list[Line]) -> None:
    [line] = asked(reader, limit=1)["lines"]

    assert line.pop("id").startswith(f"{lines[-1].at_ns}-")
    assert line == {
        "at": line["at"],
        "level": "error",
        "server": {"id": str(cast.server.pk), "name": "shop-web-1"},
        "source": "nginx",
        "text": lines[-1].text,
        "fields": {"trace": "t9"},
        "cut": 0,
    }
    assert line["at"].endswith(f"{lines[-1].at_ns % 10**9:09d}Z")


def test_pages_in_both_directions_have_each_line_once(reader: Client, lines: list[Line]) -> None:
    first = asked(reader, limit=4)
    second = asked(reader, limit=4, older=first["older"])
    third = asked(reader, limit=4, older=second["older"])
    back = asked(reader, limit=4, newer=third["newer"])

    assert texts(first) + texts(second) + texts(third) == list("9876543210")
    assert third["older"] is None
    assert back["lines"] == second["lines"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"level": "error"}, "97531"),
        ({"level": ["error", "info"]}, "9876543210"),
        ({"source": "app"}, "43210"),
        ({"source": "app", "level": "error"}, "31"),
        ({"q": '"order 7"'}, "7"),
        ({"q": "timed -nginx source:app"}, "43210"),
        ({"q": "trace:t3 OR trace:t4"}, "43"),
        ({"q": "nothing"}, ""),
        ({"range": "1h"}, "9876543210"),
        ({"from": "2000-01-01", "to": "2000-01-02"}, ""),
        ({"server": "shop-web-1"}, "9876543210"),
    ],
)
def test_lines_are_found_by_what_is_asked(reader: Client, lines: list[Line], query: Any, found: str) -> None:
    assert texts(asked(reader, **query)) == list(found)


def test_a_server_is_an_id_or_a_name(reader: Client, cast: Cast, lines: list[Line]) -> None:
    other = Server.objects.create(name=str(cast.server.pk + 1000), group=cast.group)
    record([lines[0]._replace(server_id=other.pk)], origin="test")

    assert texts(asked(reader, server=cast.server.pk)) == list("9876543210")
    assert texts(asked(reader, server=other.name)) == ["0"]
    assert len(asked(reader, server=[cast.server.pk, other.name])["lines"]) == 11


def test_how_many_there_are_is_said_when_it_is_asked(reader: Client, lines: list[Line]) -> None:
    assert asked(reader)["total"] is None
    assert asked(reader, count=1)["total"] == 10
    assert asked(reader, count=1, level="error")["total"] == 5
    assert asked(reader, count=1, q="order")["total"] is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("level=loud", "level"),
        ("older=x", "That is no position"),
        ("older=1-2&newer=1-2", "not for both"),
        ("limit=1001", "limit"),
        ("limit=0", "limit"),
        ("range=9y", "range"),
        ("from=yesterday", "from"),
        ("from=2026-02-01&to=2026-01-01", "“from” must be before “to”."),
        ('q="never closed', "closed"),
        ("q=" + "x" * 501, "q"),
    ],
)
def test_mistakes_are_said_in_words(reader: Client, query: str, words: str) -> None:
    response = reader.get(f"{WHERE}?{query}")

    assert response.status_code == 400
    assert words in response.json()["message"]


@pytest.mark.parametrize("server", ["nobody", "999999999", "0", "", "\x00", "9" * 30, "-1"])
def test_a_server_that_there_is_not_is_404(reader: Client, server: str) -> None:
    assert reader.get(WHERE, {"server": server}).status_code == 404


def test_what_is_known_already_is_not_sent_again(reader: Client, lines: list[Line]) -> None:
    first = reader.get(WHERE)

    again = reader.get(WHERE, headers={"If-None-Match": first.headers["ETag"]})
    record([lines[0]._replace(text="order new", at_ns=lines[0].at_ns + 1)], origin="test")
    later = reader.get(WHERE, headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, later.status_code) == (304, 200)
    assert first.headers["Cache-Control"] == "private, no-cache"


def test_who_is_not_signed_in_is_told_so(cast: Cast) -> None:
    assert sign_in(None).get(WHERE).status_code == 401


def test_it_is_in_the_description_of_the_api(reader: Client) -> None:
    operations = reader.get("/api/openapi.json").json()["paths"]

    assert {one["name"] for one in operations[WHERE]["get"]["parameters"]} >= {"level", "server", "q", "older", "from"}
    assert "post" in operations[f"{WHERE}/exports"]


def test_it_costs_the_same_queries_for_many_lines_and_servers(
    reader: Client, cast: Cast, lines: list[Line], django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        other = Server.objects.create(name=f"other-{number}", group=cast.group)
        record([lines[0]._replace(server_id=other.pk)], origin="test")
    asked(reader)
    with django_assert_max_num_queries(12):
        asked(reader, limit=1000)
