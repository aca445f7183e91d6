"""The list of incidents, driven through its address."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation
from django.utils.html import escape

from alerts.incidents import acknowledge
from alerts.models import DeliveryStatus, Incident, IncidentStatus, Scope, Threshold
from alerts.queries.list import MOST_COUNTED, ROWS_PER_PAGE
from alerts.rules.observation import Phase
from alerts.silences import silence
from monitoring.models import Series, Server, ServerGroup
from portal.accounts.models import User
from portal.toolkit.live.topic import topics
from tests.alerts.makers import (
    NOW,
    apply,
    at,
    make_metric,
    make_person,
    make_series,
    make_server,
    mark,
    observe,
    open_incident,
)
from tests.cast import Cast, make_cast, person, sign_in

pytestmark = pytest.mark.django_db

AS_SCRIPT = {"HX-Request": "true", "HX-Target": "incidents"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "‮gnp.txt",
    "{{ settings.SECRET_KEY }}",
    "x" * 200,
]


@pytest.fixture
def ann(group: ServerGroup) -> User:
    return make_person("ann", group)


@pytest.fixture
def browser(ann: User) -> Client:
    return sign_in(ann)


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def page(client: Client, address: str = "/alerts/", **headers: Any) -> str:
    response = client.get(address, headers=headers or None)
    assert response.status_code == 200
    return response.content.decode()


def rows_of(html: str) -> list[str]:
    """The servers of the rows, in order."""
    return re.findall(r'<article class="incident [^>]*data-server="([^"]*)"', html)


def breaks(server: Server, phase: Phase = Phase.CRITICAL, seconds: float = 0, metric: str = "cpu") -> Series:
    """A series of `server` that goes wrong."""
    series = make_series(server, metric)
    apply(observe(series, phase, at(seconds)))
    return series


def bulk(group: ServerGroup, count: int, **fields: Any) -> None:
    """That many resolved incidents, a second apart."""
    Incident.objects.bulk_create(
        Incident(
            server_name=f"old-{number}",
            group=group,
            status=IncidentStatus.RESOLVED,
            level="critical",
            peak_level="critical",
            began_at=at(-number - 60),
            fired_at=at(-number - 60),
            resolved_at=at(-number),
            **fields,
        )
        for number in range(count)
    )


def test_the_worst_comes_first_and_of_equals_the_newest(browser: Client, group: ServerGroup) -> None:
    breaks(make_server("warns", group), Phase.WARNING, 30)
    breaks(make_server("older", group), seconds=0)
    breaks(make_server("newer", group), seconds=20)
    assert rows_of(page(browser)) == ["newer", "older", "warns"]


def test_a_row_says_what_is_wrong_where_and_who_was_told(
    browser: Client, web: Server, cpu: Series, memory: Series, ben: User
) -> None:
    apply(observe(cpu, Phase.CRITICAL), observe(memory, Phase.WARNING, at(1)))
    mark(DeliveryStatus.ACCEPTED, person=ben)
    html = page(browser)
    assert "CPU 97.2%, above 85.0%" in html
    assert "and one more" in html
    assert f'<a href="{web.get_absolute_url()}"><bdi>web-1</bdi></a>' in html
    assert "<b>Critical</b>" in html
    assert "nobody has it" in html
    assert "one told" in html
    assert "one mail waits" in html


def test_an_incident_of_which_nobody_was_mailed_says_so(browser: Client, web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    assert "nobody was mailed" in page(browser)


def test_a_dead_letter_is_said(browser: Client, web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    mark(DeliveryStatus.DEAD)
    assert "2 mails failed" in page(browser)


def test_a_silence_is_marked_on_what_it_covers_and_on_nothing_else(
    browser: Client, ann: User, web: Server, cpu: Series, group: ServerGroup
) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    breaks(make_server("other", group))
    now = timezone.now()
    silence(
        ann,
        scope=Scope.SERVER,
        server=web,
        metric=make_metric("cpu"),
        reason="Disk swap",
        starts_at=now,
        ends_at=now.replace(year=now.year + 1),
        now=now,
    )
    assert page(browser).count('class="is-silenced" title="Disk swap"') == 1


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("", ["fires", "held", "waits"]),
        ("?status=firing", ["fires"]),
        ("?status=acknowledged", ["held"]),
        ("?status=pending", ["waits"]),
        ("?status=resolved", ["over"]),
        ("?status=all", ["fires", "held", "waits", "over"]),
        ("?level=warning", ["waits"]),
        ("?owner=nobody", ["fires"]),
        ("?owner=mine", ["held"]),
        ("?q=FIR", ["fires"]),
        ("?q=machines", ["fires", "held", "waits"]),
        ("?status=nonsense&level=x&group=x&server=x&owner=x&after=x", ["fires", "held", "waits"]),
    ],
)
def test_a_filter_shows_what_matches(
    browser: Client, group: ServerGroup, ann: User, asked: str, found: list[str]
) -> None:
    over = breaks(make_server("over", group), seconds=-100)
    apply(observe(over, Phase.FINE, at(-50), 3.0))
    breaks(make_server("fires", group), seconds=10)
    held = make_server("held", group)
    breaks(held)
    acknowledge(open_incident(held), ann, reason="", until=None, now=NOW)
    apply(observe(make_series(make_server("waits", group)), Phase.PENDING))
    Incident.objects.filter(server_name="waits").update(level="warning")
    assert rows_of(page(browser, f"/alerts/{asked}")) == found


def test_it_filters_by_group_server_and_number(browser: Client, group: ServerGroup, web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    breaks(make_server("other", group))
    number = open_incident(web).pk
    assert rows_of(page(browser, f"/alerts/?server={web.pk}")) == ["web-1"]
    assert rows_of(page(browser, f"/alerts/?q=%23{number}")) == ["web-1"]
    assert len(rows_of(page(browser, f"/alerts/?group={group.pk}"))) == 2
    assert rows_of(page(browser, f"/alerts/?group={group.pk + 1}")) == []


def test_the_counts_are_of_all_that_one_may_see(browser: Client, web: Server, cpu: Series, group: ServerGroup) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    bulk(group, 3)
    counts = dict(re.findall(r'id="count-(\w+)".*?<b>([^<]+)</b>', page(browser, "/alerts/?level=info")))
    assert counts == {"open": "1", "pending": "0", "firing": "1", "acknowledged": "0", "resolved": "3", "all": "4"}


def test_years_of_resolved_ones_are_not_counted_to_the_last(browser: Client, group: ServerGroup) -> None:
    bulk(group, MOST_COUNTED + 5)
    assert "<b>1,000+</b>" in page(browser)


def test_next_leads_through_all_of_them_once(browser: Client, group: ServerGroup, web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    bulk(group, 2 * ROWS_PER_PAGE + 3)
    seen, address = [], "/alerts/?status=all"
    while address:
        html = page(browser, address)
        seen += rows_of(html)
        following = re.search(r'rel="next" href="([^"]+)"', html)
        address = following[1].replace("&amp;", "&") if following else ""
    assert seen == ["web-1", *(f"old-{number}" for number in range(2 * ROWS_PER_PAGE + 3))]


def test_next_leads_through_many_open_ones_too(browser: Client, group: ServerGroup) -> None:
    servers = [make_server(f"node-{number:02}", group) for number in range(ROWS_PER_PAGE + 4)]
    apply(*(observe(make_series(server), Phase(3 + number % 2), at(0)) for number, server in enumerate(servers)))
    first = page(browser)
    following = re.search(r'rel="next" href="([^"]+)"', first)
    assert following is not None
    second = page(browser, following[1].replace("&amp;", "&"))
    assert sorted(rows_of(first) + rows_of(second)) == [server.name for server in servers]
    assert "To the start" in second


def test_many_incidents_cost_as_many_queries_as_one(
    browser: Client, group: ServerGroup, ben: User, web: Server, cpu: Series, django_assert_num_queries: Any
) -> None:
    def costs() -> int:
        with django_assert_num_queries(30, exact=False) as counted:
            page(browser, "/alerts/?status=all")
        return len(counted)

    apply(observe(cpu, Phase.CRITICAL))
    bulk(group, 1)
    page(browser)  # what a process looks up once
    before = costs()
    servers = [make_server(f"node-{number}", group) for number in range(40)]
    apply(*(observe(make_series(server, metric), Phase.CRITICAL) for server in servers for metric in ("cpu", "memory")))
    bulk(group, 40)
    assert costs() == before <= 24


def test_everyone_sees_only_their_own_groups(cast: Cast) -> None:
    breaks(cast.server)
    breaks(make_server("elsewhere-1", cast.elsewhere))
    assert rows_of(page(sign_in(cast.reader))) == ["shop-web-1"]
    assert rows_of(page(sign_in(cast.stranger))) == ["elsewhere-1"]
    assert len(rows_of(page(sign_in(cast.superuser)))) == 2


def test_what_acts_is_there_only_for_who_may(cast: Cast) -> None:
    breaks(cast.server)
    assert "data-operate" in page(sign_in(cast.operator))
    assert 'data-sheet="acknowledge"' in page(sign_in(cast.operator))
    assert 'data-sheet="acknowledge"' not in page(sign_in(cast.reader))


def test_a_server_that_was_deleted_keeps_its_incident_and_its_name(browser: Client, web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    web.delete()
    html = page(browser)
    assert rows_of(html) == ["web-1"]
    assert 'data-sheet="silence"' not in html


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_as_text(browser: Client, group: ServerGroup, name: str) -> None:
    breaks(make_server(name, group))
    html = page(browser)
    assert str(escape(name)) in html
    assert "<script>alert" not in html
    assert "<img src=x" not in html


def test_nothing_wrong_says_how_it_would_show(browser: Client, db: None) -> None:
    html = page(browser)
    assert "Nothing is wrong" in html
    assert "Thresholds are set by an admin." in html


def test_without_a_threshold_it_says_that_nothing_can_be_wrong(browser: Client) -> None:
    Threshold.objects.all().delete()
    assert "no threshold is set" in page(browser)


def test_an_admin_is_led_to_the_thresholds(db: None) -> None:
    html = page(sign_in(person("admin", is_staff=True, is_superuser=True)))
    assert 'href="/admin/alerts/threshold/"' in html


def test_a_filter_that_nothing_passes_offers_the_way_back(browser: Client, web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    assert "No incident matches" in page(browser, "/alerts/?q=nowhere")
    assert "One incident is open." in page(browser, "/alerts/?status=acknowledged")


def test_a_script_gets_only_the_list_and_the_address_to_show(browser: Client, web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    response = browser.get("/alerts/?status=open&q=web", headers={**AS_SCRIPT, "HX-Current-URL": "http://testserver/"})
    assert response.content.decode().lstrip().startswith('<section id="incidents"')
    assert response.headers["HX-Push-Url"] == "/alerts/?q=web"
    assert "HX-Request" in response.headers["Vary"]


def test_a_list_that_refreshes_itself_adds_nothing_to_the_history(browser: Client) -> None:
    response = browser.get("/alerts/?q=a", headers={**AS_SCRIPT, "HX-Current-URL": "http://testserver/alerts/?q=a"})
    assert "HX-Push-Url" not in response.headers


def cursor_of(html: str) -> str:
    found = re.search(r'<data id="incidents-cursor".*?</data>', html)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_pushed_cursor_is_what_a_reload_shows(cast: Cast, language: str) -> None:
    breaks(cast.server)
    topic = topics()["incidents"]
    key = topic.admit(cast.reader, "")
    assert key == str(cast.group.pk)
    with translation.override(language):
        pushed = topic.render([key], language)[key].strip()
    html = page(sign_in(cast.reader), **{"Accept-Language": language})
    assert pushed == cursor_of(html)
    assert re.findall(r'value="(\w+)"', pushed) == re.findall(r'data-digest="(\w+)"', html)


CHANGES: dict[str, Callable[[Server, Series, User], object]] = {
    "another incident": lambda web, cpu, ben: breaks(make_server("other", web.group)),
    "a further problem": lambda web, cpu, ben: breaks(web, metric="memory"),
    "a new name": lambda web, cpu, ben: Server.objects.filter(pk=web.pk).update(name="renamed"),
    "its end": lambda web, cpu, ben: apply(observe(cpu, Phase.FINE, at(60), 3.0)),
    "a mail that arrived": lambda web, cpu, ben: mark(DeliveryStatus.ACCEPTED, person=ben),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_cursor_changes_with_what_the_list_says(
    browser: Client, web: Server, cpu: Series, ben: User, what: str
) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    before = cursor_of(page(browser))
    assert cursor_of(page(browser)) == before
    CHANGES[what](web, cpu, ben)
    assert cursor_of(page(browser)) != before


def test_the_cursor_of_one_group_does_not_move_with_another(cast: Cast) -> None:
    breaks(cast.server)
    before = cursor_of(page(sign_in(cast.reader)))
    breaks(make_server("elsewhere-1", cast.elsewhere))
    assert cursor_of(page(sign_in(cast.reader))) == before
