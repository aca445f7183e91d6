from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from alerts.models import Bounce, Delivery, Incident, What
from tests.cast import Cast, make_cast, person, sign_in

pytestmark = pytest.mark.django_db

LIST = "/admin/alerts/delivery/"
NOW = datetime.now(UTC)


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    return sign_in(cast.superuser)


@pytest.fixture
def incident(cast: Cast) -> Incident:
    words = {"status": "firing", "level": "critical", "peak_level": "critical"}
    return Incident.objects.create(
        server=cast.server, server_name="shop-web-1", group=cast.group, began_at=NOW, **words
    )


def mail(cast: Cast, incident: Incident, status: str, kind: str = "fired", **fields: Any) -> Delivery:
    later = NOW + timedelta(hours=3)
    given = {"person": cast.owner, "person_name": "owner", "address": "owner@example.org", "level": "critical"}
    given |= {"created_at": NOW, "next_attempt_at": later, "status": status, "kind": kind}
    given |= {"key": f"{incident.pk}-{Delivery.objects.count()}", "ended_at": None if status == "queued" else NOW}
    return Delivery.objects.create(incident=incident, **given | fields)


def try_again(browser: Client, *rows: Delivery) -> str:
    chosen = {"action": "try_again", "_selected_action": [row.pk for row in rows]}
    return browser.post(LIST, chosen, follow=True).content.decode()


@pytest.mark.parametrize("status", ["dead", "queued"])
def test_a_mail_that_waits_or_was_given_up_is_tried_again_now(
    cast: Cast, admin: Client, incident: Incident, status: str
) -> None:
    row = mail(cast, incident, status)
    assert "1 mail is tried again now." in try_again(admin, row)
    row.refresh_from_db()
    assert (row.status, row.ended_at) == ("queued", None)
    assert row.next_attempt_at <= datetime.now(UTC)
    entry = incident.entries.get()
    assert (entry.what, entry.by, entry.about) == (What.QUEUED, cast.superuser, cast.owner)
    assert LogEntry.objects.get().object_id == str(row.pk)


def test_a_mail_that_was_accepted_is_not_sent_twice(cast: Cast, admin: Client, incident: Incident) -> None:
    row = mail(cast, incident, "accepted")
    assert "0 mails are tried again now." in try_again(admin, row)
    row.refresh_from_db()
    assert row.status == "accepted"


def test_nobody_is_alarmed_about_what_is_over_but_told_that_it_is(
    cast: Cast, admin: Client, incident: Incident
) -> None:
    incident.resolved_at, incident.status = NOW, "resolved"
    incident.save(update_fields=["resolved_at", "status"])
    fired, recovered = mail(cast, incident, "dead"), mail(cast, incident, "dead", "recovered")
    page = try_again(admin, fired, recovered)
    assert "1 mail is tried again now." in page
    assert "1 is left alone: what it tells of is over." in page
    assert set(Delivery.objects.filter(status="queued")) == {recovered}


def test_who_may_only_look_sends_nothing(cast: Cast, incident: Incident) -> None:
    clerk = person("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_delivery"))
    row = mail(cast, incident, "dead")
    browser = sign_in(clerk)
    assert "owner@example.org" in browser.get(LIST).content.decode()
    try_again(browser, row)
    row.refresh_from_db()
    assert row.status == "dead"


def test_deliveries_and_incidents_are_nobodys_to_edit(cast: Cast, admin: Client, incident: Incident) -> None:
    row = mail(cast, incident, "dead", answer="550 <b>no</b>")
    for page in (f"{LIST}{row.pk}/change/", f"/admin/alerts/incident/{incident.pk}/change/"):
        assert "550 &lt;b&gt;no&lt;/b&gt;" in admin.get(page).content.decode()
        assert admin.post(page, {"status": "queued"}).status_code == 403
        assert admin.post(page.replace("change", "delete"), {"post": "yes"}).status_code == 403


def test_the_list_can_be_asked_for_dead_letters(cast: Cast, admin: Client, incident: Incident) -> None:
    dead, _waiting = mail(cast, incident, "dead"), mail(cast, incident, "queued")
    assert list(admin.get(f"{LIST}?status__exact=dead").context["cl"].result_list) == [dead]


def test_deleting_a_bounce_forgets_it(admin: Client) -> None:
    bounce = Bounce.objects.create(address="reader@example.org", at=NOW, answer="550 no such person")
    at = f"/admin/alerts/bounce/{bounce.pk}"
    assert "550 no such person" in admin.get(f"{at}/change/").content.decode()
    assert admin.post(f"{at}/delete/", {"post": "yes"}).status_code == 302
    assert not Bounce.objects.exists()


@pytest.mark.parametrize("model", ["delivery", "incident", "bounce"])
def test_a_list_costs_the_same_for_one_row_and_for_many(
    cast: Cast, admin: Client, incident: Incident, django_assert_max_num_queries: DjangoAssertNumQueries, model: str
) -> None:
    page = f"/admin/alerts/{model}/"
    mail(cast, incident, "dead")
    Bounce.objects.create(address="one@example.org", at=NOW, answer="550")
    with django_assert_max_num_queries(20) as few:
        admin.get(page)
    for n in range(10):
        words = {"status": "resolved", "level": "info", "peak_level": "info", "began_at": NOW, "resolved_at": NOW}
        other = Incident.objects.create(server_name=f"s{n}", acknowledged_by=cast.owner, **words)
        mail(cast, other, "dead")
        Bounce.objects.create(address=f"{n}@example.org", at=NOW, answer="550")
    with django_assert_max_num_queries(len(few.captured_queries)):
        admin.get(page)
