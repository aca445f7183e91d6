"""The page of one incident, and what is pushed to it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone, translation
from django.utils.html import escape

from alerts import incidents
from alerts.models import Delivery, DeliveryStatus, Entry, Incident, IncidentStatus, Scope, What
from alerts.queries.incident import MOST_ENTRIES
from alerts.rules.observation import Phase
from alerts.silences import silence
from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Series, Server, ServerGroup
from portal.accounts.models import User
from portal.toolkit.instants import iso
from portal.toolkit.live.topic import topics
from portal.toolkit.redis import client as redis_client
from tests.alerts.makers import NOW, apply, at, make_series, make_server, make_threshold, mark, observe, open_incident
from tests.alerts.test_alerts_page import HOSTILE
from tests.cast import Cast, make_cast, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def fired(web: Server, cpu: Series, memory: Series, ben: User) -> Incident:
    """Two problems, two people on call, one of whom was reached."""
    apply(observe(cpu, Phase.CRITICAL, threshold_id=make_threshold("cpu", for_s=30).pk))
    apply(observe(memory, Phase.WARNING, at(5)))
    mark(DeliveryStatus.ACCEPTED, person=ben)
    return open_incident(web)


@pytest.fixture
def browser(ann: User) -> Client:
    return sign_in(ann)


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def page(client: Client, incident: Incident, asked: str = "", **headers: Any) -> str:
    response = client.get(incident.get_absolute_url() + asked, headers=headers or None)
    assert response.status_code == 200
    return response.content.decode()


def test_it_says_what_is_wrong_by_which_threshold(browser: Client, fired: Incident) -> None:
    html = page(browser, fired)
    assert ">CPU</a>" in html
    assert '<td class="number">97.2%</td><td class="number">above 85.0%</td>' in html
    assert "All servers · Critical 85.0% · for 30 s" in html
    assert "a threshold that was deleted" in html


def test_it_leads_to_the_lines_of_its_server_then(browser: Client, fired: Incident) -> None:
    start = quote(iso(fired.began_at - timedelta(minutes=10)))
    assert f'href="/logs/?server={fired.server_id}&amp;from={start}"' in page(browser, fired), "it goes on until now"

    Incident.objects.filter(pk=fired.pk).update(status=IncidentStatus.RESOLVED, resolved_at=fired.began_at)

    end = quote(iso(fired.began_at + timedelta(minutes=5)))
    assert f'href="/logs/?server={fired.server_id}&amp;from={start}&amp;to={end}"' in page(browser, fired)


def test_decisions_for_several_people_are_one_line(browser: Client, fired: Incident) -> None:
    html = page(browser, fired)
    line = re.search(r"<b>Mail queued</b>.*?</li>\s*<li|<b>Mail queued</b>.*?</details>", html, re.DOTALL)
    assert line is not None
    assert "<span>ann, ben</span>" in line[0]
    assert "2 decisions" in line[0]
    assert html.count("<b>Mail queued</b>") == 1


def test_each_mail_has_its_state_answer_and_next_attempt(browser: Client, fired: Incident) -> None:
    Delivery.objects.filter(person_name="ben").update(answer="250 2.0.0 Ok: queued as 4F2D", attempts=2)
    html = page(browser, fired)
    assert "250 2.0.0 Ok: queued as 4F2D" in html
    assert html.count('<tr class="is-accepted">') == html.count('<tr class="is-queued">') == 1


def test_what_happened_and_who_did_it_is_on_the_time_line(browser: Client, fired: Incident, ben: User) -> None:
    incidents.acknowledge(fired, ben, reason="Looking", until=at(3600), now=at(30))
    incidents.comment(fired, ben, "Disk <full>?\nYes.", at(40))
    html = page(browser, fired)
    assert "<b>Acknowledged</b> <span>by ben</span>" in html
    assert "<blockquote>Disk &lt;full&gt;?<br>Yes.</blockquote>" in html
    assert "<q>Looking</q>" in html
    assert html.index("<b>Comment</b>") < html.index("<b>Fired</b>"), "the newest first"


def test_a_resolved_one_says_how_long_it_lasted_and_has_no_forms(
    browser: Client, fired: Incident, cpu: Series, memory: Series
) -> None:
    apply(observe(cpu, Phase.FINE, at(200), 3.0), observe(memory, Phase.FINE, at(200), 3.0))
    html = page(browser, fired)
    assert "3 min 20 s" in html
    assert "data-act=" not in html


def test_a_silence_over_it_is_named(browser: Client, fired: Incident, web: Server, ann: User) -> None:
    now = timezone.now()
    ends = now + timedelta(hours=1)
    silence(ann, scope=Scope.SERVER, server=web, reason="Disk swap", starts_at=now, ends_at=ends, now=now)
    assert re.search(r"Silenced until <time[^>]*>[^<]*</time>: Disk swap", page(browser, fired))


def test_it_leads_to_the_charts_of_that_time(browser: Client, web: Server) -> None:
    now = timezone.now()
    began = now - timedelta(minutes=40)
    apply(observe(make_series(web), Phase.CRITICAL, began), now=now)
    assert f'href="{web.get_absolute_url()}?range=1h"' in page(browser, open_incident(web))


def test_a_deleted_server_leaves_the_incident_readable(browser: Client, fired: Incident, web: Server) -> None:
    web.delete()
    html = page(browser, fired)
    assert "web-1" in html
    assert "This server was removed." in html
    assert 'data-act="silence"' not in html


def test_a_very_long_time_line_shows_its_newest_end(browser: Client, fired: Incident) -> None:
    Entry.objects.bulk_create(
        Entry(incident=fired, at=at(60 + number), what=What.COMMENTED, text=f"note {number}") for number in range(500)
    )
    html = page(browser, fired)
    assert "note 499" in html
    assert html.count("<blockquote>") == MOST_ENTRIES
    assert "Older entries are not shown." in html


# --- The chart --------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(web: Server) -> Incident:
    """Ten minutes of samples, the last two above the limit."""
    redis_client().flushdb()
    now_ms = int(timezone.now().timestamp()) * 1000
    values = [(now_ms - 5000 * step, 97.0 if step < 24 else 30.0) for step in range(120)]
    record([Frame.of(web.pk, instant, {"cpu": value}) for instant, value in values], origin="test")
    series = Series.objects.get(server=web, metric__name="cpu")
    now = timezone.now()
    apply(observe(series, Phase.CRITICAL, now - timedelta(minutes=2)), now=now)
    return open_incident(web)


def test_the_chart_shows_the_worst_series_with_its_limit_and_when_it_fired(browser: Client, measured: Incident) -> None:
    html = page(browser, measured)
    assert 'aria-label="CPU: lowest 30.0%, highest 97.0%, limit 85.0%"' in html
    assert '<line class="limit is-critical" x1="0" x2="1000" y1="30.0" y2="30.0"/>' in html
    assert '<line class="mark is-fired"' in html
    assert re.search(r'<path class="line" d="M[\d.]+ 140\.0L', html)


def test_the_chart_alone_is_what_the_page_shows(browser: Client, measured: Incident) -> None:
    alone = browser.get(f"{measured.get_absolute_url()}chart/").content.decode()
    assert alone.count("<figure") == 1
    assert 'id="incident-chart"' in alone


def test_another_problem_is_drawn_when_asked(browser: Client, fired: Incident) -> None:
    memory = fired.problems.get(metric="memory")
    assert f'data-problem="{memory.pk}"' in page(browser, fired, f"?problem={memory.pk}")


@pytest.mark.parametrize("asked", ["?problem=x", "?problem=999999999", "?problem=-1", "?problem="])
def test_a_problem_that_is_none_of_its_own_draws_the_worst(browser: Client, fired: Incident, asked: str) -> None:
    assert f'data-problem="{fired.problems.get(metric="cpu").pk}"' in page(browser, fired, asked)


def test_without_samples_the_chart_says_so(browser: Client, fired: Incident) -> None:
    assert "there are no samples of that time" in page(browser, fired)


# --- What is pushed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_is_pushed_is_what_a_reload_shows(fired: Incident, ann: User, language: str) -> None:
    topic = topics()["incident"]
    key = topic.admit(ann, str(fired.pk))
    assert key is not None
    ann.language = language
    ann.save(update_fields=["language"])
    with translation.override(language):
        pushed = topic.render([key], language)[key].strip()
    assert pushed in page(sign_in(ann), fired)
    assert re.match(rf'<section id="incident-{fired.pk}" [^>]*data-at="\d+"', pushed)
    assert len(re.findall(r"<section\b", pushed)) == len(re.findall(r"</section>", pushed))
    assert pushed.endswith("</section>")
    assert "csrf" not in pushed


def test_only_members_may_watch_or_open_it(cast: Cast) -> None:
    apply(observe(make_series(cast.server), Phase.CRITICAL))
    incident = open_incident(cast.server)
    topic = topics()["incident"]
    assert topic.admit(cast.reader, str(incident.pk)) == str(incident.pk)
    assert topic.admit(cast.stranger, str(incident.pk)) is None
    assert sign_in(cast.stranger).get(incident.get_absolute_url()).status_code == 404
    assert sign_in(cast.stranger).get(f"{incident.get_absolute_url()}chart/").status_code == 404


def test_an_incident_that_is_gone_is_left_out(fired: Incident) -> None:
    key = str(fired.pk)
    fired.delete()
    assert topics()["incident"].render([key], "en") == {}


def test_a_viewer_is_told_who_may_act(cast: Cast) -> None:
    apply(observe(make_series(cast.server), Phase.CRITICAL))
    incident = open_incident(cast.server)
    html = page(sign_in(cast.reader), incident)
    assert "data-act=" not in html
    assert "is for operators of its group" in html
    assert 'data-act="acknowledge"' in page(sign_in(cast.operator), incident)


def test_many_incidents_problems_and_mails_cost_as_many_queries_as_one(
    group: ServerGroup, ben: User, django_assert_num_queries: Any
) -> None:
    servers = [make_server(f"node-{number}", group) for number in range(12)]
    series = [make_series(server, metric) for server in servers for metric in ("cpu", "memory", "disk")]
    threshold = make_threshold("cpu")
    apply(*(observe(one, Phase.CRITICAL, NOW, threshold_id=threshold.pk) for one in series))
    keys = [str(pk) for pk in Incident.objects.values_list("pk", flat=True)]
    topic = topics()["incident"]
    with django_assert_num_queries(5):
        assert len(topic.render(keys[:1], "en")) == 1
    with django_assert_num_queries(5):
        assert len(topic.render(keys, "en")) == 12


def test_the_page_costs_a_fixed_number_of_queries(
    browser: Client, fired: Incident, web: Server, django_assert_max_num_queries: Any
) -> None:
    apply(*(observe(make_series(web, f"m{number}"), Phase.CRITICAL, at(9)) for number in range(30)))
    page(browser, fired)
    with django_assert_max_num_queries(22):
        page(browser, fired)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_and_reason_are_shown_as_text(browser: Client, ann: User, group: ServerGroup, name: str) -> None:
    server = make_server(name, group)
    apply(observe(make_series(server), Phase.CRITICAL))
    incident = open_incident(server)
    incidents.acknowledge(incident, ann, reason=name, until=None, now=at(9))
    Entry.objects.create(incident=incident, at=at(10), what=What.BOUNCED, about_name=name, text=name)
    html = page(browser, incident)
    assert html.count(str(escape(name))) >= 4
    assert "<script>alert" not in html
    assert "<img src=x" not in html
