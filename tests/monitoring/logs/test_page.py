"""The page of logs and its fragments, as Django renders them. tests/browser/test_logs.py has the rest."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from django.db import OperationalError
from django.test import Client

from monitoring.logs.line import Level, Line
from monitoring.logs.record import record
from monitoring.models import Server
from portal.toolkit.live.topic import topics
from tests.cast import Cast, make_cast, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

NOW_NS = time.time_ns() - 10**9


@pytest.fixture
def cast() -> Cast:
    return make_cast()


@pytest.fixture
def reader(cast: Cast) -> Client:
    return sign_in(cast.reader)


def keep(server: Server, *texts: str, level: Level = Level.INFO, source: str = "app", **fields: str) -> None:
    """Each a second older than the one before."""
    lines = [Line(server.pk, NOW_NS - place * 10**9, level, source, text, fields) for place, text in enumerate(texts)]
    assert record(lines, origin="test").kept == len(texts)


def positions(html: str) -> list[str]:
    return re.findall(r'<li class="log-line[^>]* data-position="([\d-]+)"', html)


def elsewhere(cast: Cast) -> Server:
    return Server.objects.create(name="elsewhere", group=cast.elsewhere)


def shown(client: Client, address: str) -> str:
    return client.get(address).content.decode()


def test_the_newest_fifty_are_in_the_page(reader: Client, cast: Cast) -> None:
    keep(cast.server, *(f"line {number}" for number in range(60)))
    page = shown(reader, "/logs/")

    assert len(positions(page)) == 50
    assert re.findall(r'log-text">line (\d+)<', page) == [str(number) for number in range(50)]
    assert page.count(f">{cast.server.name}</bdi>") == 50


def test_the_cost_does_not_grow_with_lines_or_servers(
    reader: Client, cast: Cast, django_assert_max_num_queries: Callable[..., object]
) -> None:
    for number in range(5):
        other = Server.objects.create(name=f"other-{number}", group=cast.server.group)
        keep(other, *(f"{number} {line}" for line in range(12)))
    with django_assert_max_num_queries(32):  # type: ignore[attr-defined]
        assert len(positions(shown(reader, "/logs/"))) == 50


def test_pages_go_on_where_the_last_one_ended_in_both_directions(reader: Client, cast: Cast) -> None:
    keep(cast.server, *(f"line {number}" for number in range(120)))
    first = shown(reader, "/logs/")
    older = shown(reader, re.search(r'data-next="([^"]+)"', first)[1].replace("&amp;", "&"))  # type: ignore[index]
    newer = shown(reader, f"/logs/lines/?newer={positions(older)[0]}")

    assert len(positions(older)) == 50
    assert not set(positions(first)) & set(positions(older))
    assert positions(newer) == positions(first)
    assert 'data-previous=""' in newer


def test_a_link_shows_its_line_among_newer_and_older_ones(reader: Client, cast: Cast) -> None:
    keep(cast.server, *(f"line {number}" for number in range(120)))
    wanted = positions(shown(reader, "/logs/"))[40]
    page = positions(shown(reader, f"/logs/?at={wanted}"))

    assert page.index(wanted) == 25
    assert len(page) == 75


def test_a_line_that_is_gone_or_filtered_away_is_said(reader: Client, cast: Cast) -> None:
    keep(cast.server, "here")
    (position,) = positions(shown(reader, "/logs/"))

    assert "not kept any more" in shown(reader, "/logs/?at=1700000000000000000-1")
    assert "not among what the filter shows" in shown(reader, f"/logs/?level=error&at={position}")


@pytest.mark.usefixtures("committed_logs")  # a tail goes by what was committed
def test_a_tail_brings_what_is_new_and_counts_what_is_above(reader: Client, cast: Cast) -> None:
    keep(cast.server, "old", "older")
    page = shown(reader, "/logs/")
    newest, oldest = positions(page)
    cursor = re.search(r'id="logs"[^>]* data-cursor="([^"]+)"', page, re.DOTALL)[1]  # type: ignore[index]
    record([Line(cast.server.pk, NOW_NS - 500_000_000, Level.INFO, "app", "late")], origin="test")
    record([Line(cast.server.pk, NOW_NS + 500_000_000, Level.INFO, "app", "new")], origin="test")
    everything = shown(reader, f"/logs/lines/?tail={cursor}")
    paused = shown(reader, f"/logs/lines/?tail={cursor}&above={newest}")

    assert re.findall(r'log-text">(\w+)<', everything)[:1] == ["new"]
    assert re.findall(r'log-text">(\w+)<', paused)[:1] == ["late"]
    assert 'data-unseen="1"' in paused
    assert oldest != newest


def test_details_have_fields_the_whole_text_and_the_lines_around(reader: Client, cast: Cast) -> None:
    keep(cast.server, "before", "<b>said</b> \x1b[31mred\x1b[0m", "after", request="r 1")
    page = shown(reader, "/logs/")
    details = shown(reader, f"/logs/lines/?context={positions(page)[1]}&level=info")

    assert "&lt;b&gt;said&lt;/b&gt; red" in details
    assert "\x1b" not in details
    assert "level=info&amp;q=request%3A%22r+1%22" in details
    assert [">before<" in details, ">after<" in details] == [True, True]
    assert f"/servers/{cast.server.pk}/?from=" in details


def test_a_search_that_cannot_be_understood_says_where(reader: Client) -> None:
    answer = reader.get("/logs/?q=disk level:purple")

    assert answer.status_code == 200
    assert 'id="log-error"' in answer.content.decode()
    assert reader.get("/logs/lines/?q=level:purple").status_code == 400


def test_lines_that_cannot_be_read_are_said_in_plain_words(reader: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationalError

    monkeypatch.setattr("monitoring.views.logs.search", fail)
    answer = reader.get("/logs/")

    assert answer.status_code == 503
    assert "cannot be read just now" in answer.content.decode()


def test_lines_are_folded_on_request(reader: Client, cast: Cast) -> None:
    keep(cast.server, *(f"request {number} took {number * 7} ms" for number in range(30)), "something else")
    page = shown(reader, "/logs/?fold=1")

    assert len(positions(page)) == 2
    assert "×30" in page


def test_counts_and_bars_are_of_the_servers_one_may_see(reader: Client, cast: Cast) -> None:
    keep(cast.server, "mine", level=Level.ERROR)
    keep(elsewhere(cast), "not mine", level=Level.ERROR)
    fragment = shown(reader, "/logs/histogram/")

    assert re.search(r'id="level-error".*?<b>1</b>', fragment, re.DOTALL)
    assert fragment.count('<rect class="is-error"') == 1


def test_choices_name_the_sources_and_servers_with_lines(reader: Client, cast: Cast) -> None:
    keep(cast.server, "one", source="nginx")
    keep(elsewhere(cast), "two", source="secret")
    fragment = shown(reader, "/logs/choices/")

    assert re.findall(r'name="source" value="([^"]+)"', fragment) == ["nginx"]
    assert re.findall(r'name="server" value="([^"]+)"', fragment) == [str(cast.server.pk)]


def test_what_is_pushed_is_what_the_page_shows(reader: Client, cast: Cast) -> None:
    keep(cast.server, "one")
    topic = topics()["logs"]
    everyone, one = topic.admit(cast.reader, ""), topic.admit(cast.reader, str(cast.server.pk))
    assert everyone is not None
    assert one is not None

    assert topic.render([everyone], "en")[everyone].strip() in shown(reader, "/logs/")
    assert topic.render([one], "en")[one].strip() in shown(reader, f"/logs/panel/?server={cast.server.pk}")
    assert topic.admit(cast.stranger, str(cast.server.pk)) is None


def test_who_has_no_lines_is_told_how_to_send_some(cast: Cast) -> None:
    page = shown(sign_in(cast.owner), "/logs/")

    assert "No lines yet" in page
    assert 'href="/servers/add/"' in page
