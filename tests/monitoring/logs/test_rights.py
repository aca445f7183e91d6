"""Whose lines somebody sees: by every way that leads to lines, those of the servers of their groups and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import pytest
from django.urls import reverse
from django.utils import timezone

from monitoring.exports import logs, writing
from monitoring.logs import read
from monitoring.logs.ask import Ask
from monitoring.logs.line import Level, Line, Position
from monitoring.logs.record import record
from monitoring.logs.search import search, tail
from monitoring.models import Membership, Server
from portal.accounts.models import User
from tests.cast import Cast, make_cast, sign_in
from tests.monitoring.logs.conftest import SECOND_NS, empty_logs

# Committed, since a tail goes by what was committed.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_redis", "committed_logs")]


OWN, SECRET = "an own line", "xyzzy was opened"
TIME = {"from": "2020-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}
VOLATILE = re.compile(r'data-(?:cursor|arrived)="[^"]*"|name="csrfmiddlewaretoken" value="[^"]*"|"timestamp":"[^"]*"')


@dataclass(frozen=True)
class World:
    """A line of the cast's server, and one of another group's, of which somebody knows all but what it says."""

    cast: Cast
    other: Server
    lines: list[Line]
    position: Position
    cursor: str

    def without_the_other(self) -> None:
        empty_logs()
        read.forget()
        record(self.lines[:1], origin="test")


@pytest.fixture
def world(now_ns: int) -> World:
    cast = make_cast()
    other = Server.objects.create(name="vault-9", group=cast.elsewhere)
    cursor = tail(Ask(), servers=None, cursor="").cursor
    lines = [
        Line(cast.server.pk, now_ns - 60 * SECOND_NS, Level.INFO, "app", OWN),
        Line(other.pk, now_ns - 50 * SECOND_NS, Level.ERROR, "treasury", SECRET, {"key": "plugh"}),
    ]
    record(lines, origin="test")
    [line] = search(Ask(words="xyzzy"), servers=None).lines
    return World(cast, other, lines, line.position, cursor)


Way = Callable[[World], str]


def way(name: str, **query: str) -> Way:
    """The address by which somebody asks; {other}, {position} and {cursor} are the world's."""

    def address(world: World) -> str:
        known = {"other": world.other.pk, "position": world.position, "cursor": world.cursor}
        return f"{reverse(name)}?{urlencode({key: value.format(**known) for key, value in query.items()})}"

    return address


WAYS: dict[str, Way] = {
    "page": way("monitoring:logs"),
    "search": way("monitoring:logs", q="xyzzy"),
    "field": way("monitoring:logs", q="key:plugh"),
    "server by name": way("monitoring:logs", q="server:vault-9"),
    "server by id": way("monitoring:logs", server="{other}"),
    "source": way("monitoring:logs", source="treasury"),
    "link to a line": way("monitoring:logs", at="{position}"),
    "folded": way("monitoring:logs", fold="1"),
    "lines": way("monitoring:logs_lines"),
    "older lines": way("monitoring:logs_lines", older="9000000000000000000-1"),
    "newer lines": way("monitoring:logs_lines", newer="1-1"),
    "context": way("monitoring:logs_lines", context="{position}"),
    "tail": way("monitoring:logs_lines", tail="{cursor}"),
    "late tail": way("monitoring:logs_lines", tail="{cursor}", above="9000000000000000000-1"),
    "histogram": way("monitoring:logs_histogram", **TIME),
    "choices": way("monitoring:logs_choices", **TIME),
    "panel": way("monitoring:logs_panel", server="{other}"),
    "API": way("api:logs", limit="1000", count="true"),
    "API, search": way("api:logs", q="xyzzy"),
    "API, newer": way("api:logs", newer="1-1"),
    "API, server": way("api:logs", server="vault-9"),
}


def seen(person: User, address: str) -> str:
    """What they get, without what is another with each answer."""
    response = sign_in(person).get(address)
    assert response.status_code in {200, 404}, (address, response.status_code)
    return VOLATILE.sub("", response.content.decode())


@pytest.mark.parametrize("by", WAYS)
def test_the_lines_of_a_group_change_what_its_members_get_and_nothing_for_others(world: World, by: str) -> None:
    address, cast = WAYS[by](world), world.cast
    with_it = [seen(person, address) for person in (cast.reader, cast.stranger)]

    world.without_the_other()

    without = [seen(person, address) for person in (cast.reader, cast.stranger)]
    assert without[0] == with_it[0]
    assert without[1] != with_it[1]


def test_nobody_gets_anything_without_signing_in(world: World) -> None:
    answers = {by: sign_in(None).get(address(world)) for by, address in WAYS.items()}

    assert {answer.status_code for answer in answers.values()} == {302, 401}
    assert not [by for by, answer in answers.items() if OWN in answer.content.decode()]


def test_rights_that_end_end_at_once(world: World) -> None:
    reader, addresses = sign_in(world.cast.reader), [WAYS[by](world) for by in ("page", "lines", "tail", "API")]
    before = [OWN in reader.get(address).content.decode() for address in addresses]

    Membership.objects.filter(user=world.cast.reader).delete()

    after = [OWN in reader.get(address).content.decode() for address in addresses]
    assert (before, after) == ([True] * 4, [False] * 4)


def test_a_server_that_changes_its_group_takes_its_lines_along(world: World) -> None:
    Server.objects.filter(pk=world.cast.server.pk).update(group=world.cast.elsewhere)

    assert OWN not in seen(world.cast.reader, WAYS["lines"](world))
    assert OWN in seen(world.cast.stranger, WAYS["lines"](world))


def test_a_file_has_only_lines_of_ones_own_whatever_is_asked(world: World) -> None:
    wanted = Ask(servers=frozenset({world.other.pk, world.cast.server.pk}))
    export = logs.ask(world.cast.reader, wanted, "jsonl", timezone.now())
    writing.write_due(timezone.now())

    file = sign_in(world.cast.reader).get(f"/api/monitoring/exports/{export.pk}/file")

    assert [json.loads(line)["text"] for line in b"".join(file).splitlines()] == [OWN]
