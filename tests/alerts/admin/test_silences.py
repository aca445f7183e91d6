from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from alerts.models import Silence
from monitoring.models import Server
from tests.cast import Cast, make_cast, sign_in

pytestmark = pytest.mark.django_db

LIST = "/admin/alerts/silence/"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    return sign_in(cast.superuser)


def asked(cast: Cast, starts_at: datetime = NOW, ends_at: datetime = NOW + timedelta(hours=2), **fields: Any) -> Any:
    form = {"purpose": "maintenance", "scope": "server", "server": cast.server.pk, "reason": "new disks"}
    for name, at in (("starts_at", starts_at), ("ends_at", ends_at)):
        form |= {f"{name}_0": f"{at:%Y-%m-%d}", f"{name}_1": f"{at:%H:%M:%S}"}
    return {name: value for name, value in (form | fields).items() if value is not None}


def silence(cast: Cast, **fields: Any) -> Silence:
    times = {"starts_at": NOW - timedelta(hours=1), "ends_at": NOW + timedelta(hours=1)}
    return Silence.objects.create(**{"scope": "server", "server": cast.server, "reason": "quiet"} | times | fields)


def test_a_maintenance_window_keeps_who_made_it_and_why(cast: Cast, admin: Client) -> None:
    assert admin.post(f"{LIST}add/", asked(cast)).status_code == 302
    made = Silence.objects.get()
    assert (made.created_by, made.reason, made.history.get().history_user) == (
        cast.superuser,
        "new disks",
        cast.superuser,
    )


def test_times_are_read_in_the_persons_own_zone(cast: Cast, admin: Client) -> None:
    cast.superuser.time_zone = "Asia/Seoul"
    cast.superuser.save(update_fields=["time_zone"])
    assert "Time zone: Asia/Seoul." in admin.get(f"{LIST}add/").content.decode()
    form = {"ends_at_0": "2027-01-01", "ends_at_1": "09:00:00"}
    assert admin.post(f"{LIST}add/", asked(cast, **form)).status_code == 302
    assert Silence.objects.get().ends_at == datetime(2027, 1, 1, 0, 0, tzinfo=UTC)
    assert "2027-01-01 09:00 KST" in admin.get(f"{LIST}{Silence.objects.get().pk}/change/").content.decode()


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"reason": ""}, "reason", "required"),
        ({"ends_at": NOW - timedelta(days=1), "starts_at": NOW - timedelta(days=2)}, "ends_at", "over already"),
        ({"ends_at": NOW, "starts_at": NOW + timedelta(hours=1)}, "ends_at", "must end after it starts"),
        ({"ends_at": NOW + timedelta(days=800)}, "ends_at", "at most a year"),
        ({"scope": "group"}, "group", "Say which group"),
        ({"scope": "all"}, "server", "Leave this empty"),
        ({"server": 999_999}, "server", "valid choice"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_field(
    cast: Cast, admin: Client, fields: dict[str, Any], field: str, said: str
) -> None:
    page = admin.post(f"{LIST}add/", asked(cast, **fields))
    assert said in " ".join(page.context["adminform"].form.errors[field])
    assert not Silence.objects.exists()


def test_one_that_is_over_can_still_be_corrected(cast: Cast, admin: Client) -> None:
    over = silence(cast, starts_at=NOW - timedelta(days=2), ends_at=NOW - timedelta(days=1))
    form = asked(cast, over.starts_at, over.ends_at, reason="it was the disks")
    assert admin.post(f"{LIST}{over.pk}/change/", form).status_code == 302


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"scope": "all", "server": None}, "nobody is mailed about anything"),
        ({"ends_at": NOW + timedelta(days=30)}, "more than a week"),
        ({"scope": "kind", "server": None, "kind": "queue"}, "no server in its scope"),
    ],
)
def test_what_is_allowed_and_doubtful_is_said(cast: Cast, admin: Client, fields: dict[str, Any], said: str) -> None:
    answer = admin.post(f"{LIST}add/", asked(cast, **fields))
    assert answer.status_code == 302
    assert any(said in str(message) for message in get_messages(answer.wsgi_request))


def test_ending_from_the_list_ends_what_holds_and_takes_away_what_is_ahead(cast: Cast, admin: Client) -> None:
    holding, over = silence(cast), silence(cast, ends_at=NOW - timedelta(minutes=1))
    later = silence(cast, starts_at=NOW + timedelta(hours=1), ends_at=NOW + timedelta(hours=2))
    chosen = {"action": "end_now", "_selected_action": [holding.pk, over.pk, later.pk]}
    assert "2 silences ended." in admin.post(LIST, chosen, follow=True).content.decode()
    holding.refresh_from_db()
    assert holding.ends_at <= datetime.now(UTC)
    assert holding.history.latest().history_user == cast.superuser
    assert set(Silence.objects.all()) == {holding, over}


def test_the_list_says_in_which_zone_its_times_are(cast: Cast, admin: Client) -> None:
    cast.superuser.time_zone = "Asia/Seoul"
    cast.superuser.save(update_fields=["time_zone"])
    silence(cast, starts_at=datetime(2026, 5, 1, tzinfo=UTC), ends_at=datetime(2027, 5, 1, tzinfo=UTC))
    page = admin.get(LIST).content.decode()
    assert "2026-05-01 09:00 KST" in page
    assert "2027-05-01 09:00 KST" in page


def test_the_list_can_be_asked_for_what_holds_now(cast: Cast, admin: Client) -> None:
    holding = silence(cast)
    silence(cast, ends_at=NOW - timedelta(minutes=1))
    later = silence(cast, starts_at=NOW + timedelta(hours=1), ends_at=NOW + timedelta(hours=2))
    assert list(admin.get(f"{LIST}?when=now").context["cl"].result_list) == [holding]
    assert list(admin.get(f"{LIST}?when=later").context["cl"].result_list) == [later]


def test_the_list_costs_the_same_for_one_row_and_for_many(
    cast: Cast, admin: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    silence(cast)
    with django_assert_max_num_queries(20) as few:
        admin.get(LIST)
    for n in range(10):
        silence(cast, server=Server.objects.create(name=f"s{n}", group=cast.group))
    with django_assert_max_num_queries(len(few.captured_queries)):
        admin.get(LIST)


def test_an_empty_form_is_shown_again_with_what_is_missing(cast: Cast, admin: Client) -> None:
    page = admin.post(f"{LIST}{silence(cast).pk}/change/", {"scope": "server"})
    assert {"server", "reason", "starts_at", "ends_at"} <= set(page.context["adminform"].form.errors)
