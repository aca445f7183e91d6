from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.messages import get_messages
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from alerts.models import Bounce, Rota, RotaMember, StandIn
from monitoring.models import Server, ServerGroup
from portal.accounts.models import User
from tests.cast import Cast, make_cast, sign_in

pytestmark = pytest.mark.django_db

LIST = "/admin/alerts/rota/"


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def admin(cast: Cast) -> Client:
    return sign_in(cast.superuser)


def asked(*people: User, **fields: Any) -> dict[str, Any]:
    form: dict[str, Any] = {"rotation": "everyone", "least_level": "warning", "handover": "09:00", "handover_day": 0}
    form |= {"starts_on": "2026-01-05", "time_zone": "Asia/Seoul", "group": ""}
    form |= {"members-TOTAL_FORMS": len(people), "members-INITIAL_FORMS": 0}
    form |= {"stand_ins-TOTAL_FORMS": 0, "stand_ins-INITIAL_FORMS": 0}
    for n, person in enumerate(people):
        form |= {f"members-{n}-person": person.pk, f"members-{n}-position": n}
    return form | fields


def rota(*people: User, **fields: Any) -> Rota:
    made = Rota.objects.create(**{"starts_on": "2026-01-05"} | fields)
    for n, person in enumerate(people):
        RotaMember.objects.create(rota=made, person=person, position=n)
    return made


def warned(admin: Client, *people: User, **fields: Any) -> list[str]:
    answer = admin.post(f"{LIST}add/", asked(*people, **fields))
    assert answer.status_code == 302
    return [str(message) for message in get_messages(answer.wsgi_request) if message.level_tag == "warning"]


def test_a_rota_with_people_who_can_be_mailed_raises_no_doubt(cast: Cast, admin: Client) -> None:
    assert warned(admin, cast.owner, cast.operator, group=cast.group.pk) == []
    assert [one.person for one in Rota.objects.get().members.all()] == [cast.owner, cast.operator]
    assert Rota.objects.get().history.get().history_user == cast.superuser


def test_an_empty_rota_is_pointed_out(cast: Cast, admin: Client) -> None:
    assert warned(admin, group=cast.group.pk) == ["Nobody is in it: nothing is mailed."]


def _unverified(cast: Cast) -> None:
    EmailAddress.objects.filter(user=cast.reader).update(verified=False)


def _bouncing(cast: Cast) -> None:
    Bounce.objects.create(address="reader@example.org", at=datetime.now(UTC), answer="550 no such person")


def _switched_off(cast: Cast) -> None:
    User.objects.filter(pk=cast.reader.pk).update(is_active=False)


def _left_the_group(cast: Cast) -> None:
    cast.reader.memberships.all().delete()


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (_unverified, "reader@example.org is not verified"),
        (_bouncing, "refused the last mail: 550 no such person"),
        (_switched_off, "switched off"),
        (_left_the_group, "may not see the servers"),
    ],
)
def test_someone_who_cannot_be_mailed_is_pointed_out(cast: Cast, admin: Client, trouble: Any, said: str) -> None:
    trouble(cast)
    (text,) = warned(admin, cast.owner, cast.reader, group=cast.group.pk)
    assert text.startswith("reader: ")
    assert said in text
    page = admin.get(f"{LIST}{Rota.objects.get().pk}/change/").content.decode()
    assert said in page, "and stays on the page"


def test_the_list_says_of_whoever_has_it_that_no_mail_reaches_them(cast: Cast, admin: Client) -> None:
    _unverified(cast)
    rota(cast.owner, cast.reader, group=cast.group)
    page = admin.get(LIST).content.decode()
    assert "owner, reader (cannot be mailed)" in page


def test_groups_whose_servers_nobody_of_the_rota_for_the_rest_may_see_are_named(cast: Cast, admin: Client) -> None:
    Server.objects.create(name="lonely", group=cast.elsewhere)
    (text,) = warned(admin, cast.owner)
    assert "Elsewhere" in text
    assert "Web shop" not in text


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({"time_zone": "Mars/Base"}, "time_zone", "valid choice"),
        ({"group": ""}, "group", "a rota for every other group already"),
        ({"handover_day": 9}, "handover_day", "valid choice"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_field(
    cast: Cast, admin: Client, fields: dict[str, Any], field: str, said: str
) -> None:
    rota(cast.owner)
    page = admin.post(f"{LIST}add/", asked(**({"group": cast.group.pk} | fields)))
    assert said in " ".join(page.context["adminform"].form.errors[field])
    assert not page.context["adminform"].form.non_field_errors()


def test_a_stand_in_that_ends_before_it_starts_is_refused(cast: Cast, admin: Client) -> None:
    times = {"stand_ins-0-starts_at_0": "2026-12-02", "stand_ins-0-starts_at_1": "09:00"}
    times |= {"stand_ins-0-ends_at_0": "2026-12-01", "stand_ins-0-ends_at_1": "09:00"}
    form = asked(cast.owner) | {"stand_ins-TOTAL_FORMS": 1, "stand_ins-0-person": cast.operator.pk} | times
    page = admin.post(f"{LIST}add/", form)
    assert "It must end after it starts." in page.content.decode()


def test_the_page_says_who_has_it_now_and_who_is_next(cast: Cast, admin: Client) -> None:
    now = datetime.now(UTC)
    weekly = rota(cast.owner, cast.operator, group=cast.group, rotation="daily", time_zone="Asia/Seoul")
    page = admin.get(f"{LIST}{weekly.pk}/change/").content.decode()
    assert "example.org" in page
    assert page.count("09:00 Asia/Seoul") >= 3
    StandIn.objects.create(
        rota=weekly, person=cast.reader, starts_at=now - timedelta(hours=1), ends_at=now + timedelta(hours=1)
    )
    assert "reader@example.org" in admin.get(f"{LIST}{weekly.pk}/change/").content.decode()
    assert '<td class="field-on_call_now">reader</td>' in admin.get(LIST).content.decode()


def test_the_list_names_groups_that_no_rota_serves(cast: Cast, admin: Client) -> None:
    assert "No rota serves these groups" in admin.get(LIST).content.decode()
    rota(cast.owner)
    assert "No rota serves these groups" not in admin.get(LIST).content.decode()


def test_the_list_costs_the_same_for_one_row_and_for_many(
    cast: Cast, admin: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    rota(cast.owner)
    with django_assert_max_num_queries(25) as few:
        admin.get(LIST)
    for n in range(10):
        rota(cast.owner, cast.operator, group=ServerGroup.objects.create(name=f"group {n}"))
    with django_assert_max_num_queries(len(few.captured_queries)):
        admin.get(LIST)
