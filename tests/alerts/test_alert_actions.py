"""Acknowledging, releasing, silencing and commenting, from the list, from the page, and without script."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone

from alerts.models import Entry, Incident, IncidentStatus, Scope, Silence, What
from alerts.rules.observation import Observation, Phase
from alerts.silences import silence
from monitoring.models import Series
from tests.alerts.makers import apply, at, make_series, observe, open_incident
from tests.cast import Cast, make_cast, sign_in

pytestmark = pytest.mark.django_db

BY_SCRIPT = {"HX-Request": "true"}
SILENT = {"scope": "server", "metric": "", "until": "1h", "reason": "Disk swap"}


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def fired(cast: Cast) -> Incident:
    apply(observe_cpu(cast, Phase.CRITICAL))
    return open_incident(cast.server)


def observe_cpu(cast: Cast, phase: Phase, seconds: float = 0) -> Observation:
    series = Series.objects.filter(server=cast.server).first() or make_series(cast.server)
    return observe(series, phase, at(seconds))


@pytest.fixture
def operator(cast: Cast) -> Client:
    return sign_in(cast.operator)


def post(browser: Client, incident: Incident, act: str, fields: dict[str, str], *, target: str = "row") -> Any:
    headers = {**BY_SCRIPT, "HX-Target": f"{target}-{incident.pk}"}
    return browser.post(f"{incident.get_absolute_url()}{act}/", fields, headers=headers)


def said(browser: Client, incident: Incident) -> str:
    return browser.get(incident.get_absolute_url()).content.decode()


@pytest.mark.parametrize(("until", "hours"), [("30m", 0.5), ("1h", 1), ("4h", 4)])
def test_an_acknowledgement_has_an_owner_a_reason_and_an_end(
    operator: Client, cast: Cast, fired: Incident, until: str, hours: float
) -> None:
    answer = post(operator, fired, "acknowledge", {"until": until, "reason": " Looking\r\n at it "})
    fired.refresh_from_db()
    assert answer.status_code == 200
    assert (fired.status, fired.acknowledged_by, fired.acknowledged_reason) == (
        "acknowledged",
        cast.operator,
        "Looking at it",
    )
    assert fired.acknowledged_until is not None
    assert abs(fired.acknowledged_until - timezone.now() - timedelta(hours=hours)) < timedelta(seconds=30)


def test_it_may_be_held_until_it_is_resolved_without_a_reason(operator: Client, fired: Incident) -> None:
    post(operator, fired, "acknowledge", {"until": "resolved"})
    fired.refresh_from_db()
    assert (fired.status, fired.acknowledged_until) == (IncidentStatus.ACKNOWLEDGED, None)


def test_the_list_gets_its_row_as_it_is_now(operator: Client, fired: Incident) -> None:
    html = post(operator, fired, "acknowledge", {"until": "1h"}).content.decode()
    assert html.strip().startswith(f'<article class="incident is-critical is-acknowledged" id="row-{fired.pk}"')
    assert "Take over" in html


def test_the_page_gets_its_fragment_as_it_is_now(operator: Client, fired: Incident) -> None:
    html = post(operator, fired, "acknowledge", {"until": "1h"}, target="incident").content.decode()
    assert html.strip().startswith(f'<section id="incident-{fired.pk}"')
    assert 'data-status="acknowledged"' in html


def test_it_is_given_back(operator: Client, fired: Incident) -> None:
    post(operator, fired, "acknowledge", {"until": "1h"})
    assert post(operator, fired, "release", {}).status_code == 200
    fired.refresh_from_db()
    assert (fired.status, fired.acknowledged_by) == (IncidentStatus.FIRING, None)


def test_a_comment_keeps_its_lines(operator: Client, cast: Cast, fired: Incident) -> None:
    post(operator, fired, "comment", {"text": "first\nsecond"})
    entry = Entry.objects.get(incident=fired, what=What.COMMENTED)
    assert (entry.text, entry.by) == ("first\nsecond", cast.operator)


@pytest.mark.parametrize(("until", "hours"), [("1h", 1), ("4h", 4), ("1d", 24)])
def test_a_server_is_silenced_for_a_while(
    operator: Client, cast: Cast, fired: Incident, until: str, hours: int
) -> None:
    assert post(operator, fired, "silence", SILENT | {"until": until}).status_code == 200
    made = Silence.objects.get()
    assert (made.scope, made.server, made.group, made.metric, made.reason, made.created_by) == (
        Scope.SERVER,
        cast.server,
        None,
        None,
        "Disk swap",
        cast.operator,
    )
    assert made.ends_at - made.starts_at == timedelta(hours=hours)


def test_a_metric_of_the_whole_group_is_silenced(operator: Client, cast: Cast, fired: Incident) -> None:
    post(operator, fired, "silence", SILENT | {"scope": "group", "metric": "cpu"})
    made = Silence.objects.get()
    assert made.metric is not None
    assert (made.scope, made.group, made.server, made.metric.name) == (Scope.GROUP, cast.group, None, "cpu")


def test_a_silence_is_ended_from_the_incident_and_what_still_fires_is_told(operator: Client, fired: Incident) -> None:
    post(operator, fired, "silence", SILENT)
    assert " data-silenced>" in said(operator, fired)
    assert post(operator, fired, "unsilence", {}).status_code == 200
    assert " data-silenced>" not in said(operator, fired)
    assert Entry.objects.filter(incident=fired, what=What.UNSILENCED).count() == 1


def test_a_silence_over_every_server_is_not_an_operators_to_end(operator: Client, cast: Cast, fired: Incident) -> None:
    now = timezone.now()
    wide = {"scope": Scope.ALL, "reason": "Move", "starts_at": now, "ends_at": now + timedelta(hours=1), "now": now}
    silence(cast.superuser, **wide)
    answer = post(operator, fired, "unsilence", {})
    assert (answer.status_code, Silence.objects.get().ends_at) == (409, wide["ends_at"])


def test_an_instant_is_understood_in_the_zone_in_which_the_page_shows_times(operator: Client, fired: Incident) -> None:
    tomorrow = timezone.now().astimezone(ZoneInfo("Asia/Seoul")) + timedelta(days=1)
    typed = {"until": "at", "at": tomorrow.strftime("%Y-%m-%dT%H:%M"), "zone": "Asia/Seoul"}
    post(operator, fired, "silence", SILENT | typed)
    assert Silence.objects.get().ends_at == tomorrow.replace(second=0, microsecond=0)


def test_without_script_an_instant_is_in_the_persons_own_zone(cast: Cast, fired: Incident) -> None:
    cast.operator.time_zone = "America/New_York"
    cast.operator.save(update_fields=["time_zone"])
    typed = {"until": "at", "at": "2027-01-15T09:30", "zone": ""}
    sign_in(cast.operator).post(f"{fired.get_absolute_url()}silence/", SILENT | typed)
    expected = datetime(2027, 1, 15, 9, 30, tzinfo=ZoneInfo("America/New_York"))
    assert Silence.objects.get().ends_at == expected


@pytest.mark.parametrize("zone", ["Mars/Base", "../../etc/passwd", "\x00", "x" * 60])
def test_a_zone_that_is_none_does_no_harm(operator: Client, fired: Incident, zone: str) -> None:
    typed = {"until": "at", "at": "2027-01-15T09:30", "zone": zone}
    assert post(operator, fired, "silence", SILENT | typed).status_code in {200, 422}


WRONG = [
    ("acknowledge", {}),
    ("acknowledge", {"until": "for ever"}),
    ("acknowledge", {"until": "1h", "reason": "x" * 301}),
    ("comment", {"text": "   "}),
    ("comment", {"text": "x" * 2001}),
    ("silence", {}),
    ("silence", SILENT | {"reason": " "}),
    ("silence", SILENT | {"scope": "all"}),
    ("silence", SILENT | {"metric": "disk"}),
    ("silence", SILENT | {"until": "at"}),
    ("silence", SILENT | {"until": "at", "at": "yesterday"}),
    ("silence", SILENT | {"until": "at", "at": "2020-01-01T00:00"}),
    ("silence", SILENT | {"until": "at", "at": "2999-01-01T00:00"}),
]


@pytest.mark.parametrize(("act", "fields"), WRONG)
def test_what_makes_no_sense_is_said_and_changes_nothing(
    operator: Client, fired: Incident, act: str, fields: dict[str, str]
) -> None:
    before = Entry.objects.count()
    answer = post(operator, fired, act, fields)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert len(answer.content) > 10
    assert (Entry.objects.count(), Silence.objects.count()) == (before, 0)


def test_without_script_what_was_typed_is_still_there(operator: Client, fired: Incident) -> None:
    answer = operator.post(f"{fired.get_absolute_url()}silence/", SILENT | {"until": "at"})
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "Say until when." in html
    assert 'value="Disk swap"' in html
    assert '<details class="act" open>' in html


def test_without_script_one_comes_back_to_the_page_and_is_told(operator: Client, fired: Incident) -> None:
    answer = operator.post(f"{fired.get_absolute_url()}acknowledge/", {"until": "1h"})
    assert (answer.status_code, answer.headers["Location"]) == (302, fired.get_absolute_url())
    assert "Acknowledged: it is yours." in said(operator, fired)


@pytest.mark.parametrize("act", ["acknowledge", "release", "comment"])
def test_what_is_over_is_over(operator: Client, cast: Cast, fired: Incident, act: str) -> None:
    apply(observe_cpu(cast, Phase.FINE, 60))
    fields = {"until": "1h", "text": "late"}
    answer = post(operator, fired, act, fields)
    assert (answer.status_code, answer.content.decode()) == (409, "It is over already.")
    operator.post(f"{fired.get_absolute_url()}{act}/", fields)
    assert "It is over already." in said(operator, fired)


@pytest.mark.parametrize("act", ["acknowledge", "release", "comment", "silence"])
def test_a_viewer_is_told_that_it_is_not_theirs(cast: Cast, fired: Incident, act: str) -> None:
    fields = SILENT | {"text": "hello"}
    browser = sign_in(cast.reader)
    answer = post(browser, fired, act, fields)
    assert (answer.status_code, answer.content.decode()) == (403, "Your role in this group does not allow that.")
    page = browser.post(f"{fired.get_absolute_url()}{act}/", fields)
    assert page.status_code == 403
    assert "Your role in this group does not allow that." in page.content.decode()
    assert Silence.objects.count() == 0
    assert not Entry.objects.filter(what__in=[What.ACKNOWLEDGED, What.COMMENTED]).exists()


@pytest.mark.parametrize("act", ["acknowledge", "release", "comment", "silence"])
def test_a_stranger_is_told_that_there_is_no_such_incident(cast: Cast, fired: Incident, act: str) -> None:
    assert post(sign_in(cast.stranger), fired, act, SILENT).status_code == 404


@pytest.mark.parametrize("act", ["acknowledge", "release", "comment", "silence"])
def test_reading_an_action_changes_nothing(operator: Client, fired: Incident, act: str) -> None:
    assert operator.get(f"{fired.get_absolute_url()}{act}/").status_code == 405


def test_a_removed_server_cannot_be_silenced(operator: Client, cast: Cast, fired: Incident) -> None:
    cast.server.delete()
    answer = post(operator, fired, "silence", SILENT)
    assert (answer.status_code, answer.content.decode()) == (409, "This server was removed.")
