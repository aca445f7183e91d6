"""Whose turn it is."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from alerts.models import Bounce, Rota, Rotation, StandIn, Weekday
from alerts.oncall import handovers, on_call, turn_at
from monitoring.models import ServerGroup
from portal.accounts.models import User
from portal.toolkit.sentence import say
from tests.alerts.makers import NOW, make_person, make_rota
from tests.cast import person

pytestmark = pytest.mark.django_db

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def people(group: ServerGroup) -> list[User]:
    return [make_person(name, group) for name in ("ann", "ben", "cleo")]


def names(rota: Rota, at: datetime) -> list[str]:
    return [one.get_username() for one in turn_at(rota, at)]


def told(group: ServerGroup, now: datetime = NOW) -> list[tuple[str, str, str]]:
    """(name, address, trouble)."""
    return [(one.name, one.address, say(one.trouble)) for one in on_call(group.pk, now)]


def test_everyone_is_always_on_call(group: ServerGroup, people: list[User]) -> None:
    assert names(make_rota(group, *people), NOW) == ["ann", "ben", "cleo"]


def test_a_day_belongs_to_one_from_handover_to_handover(group: ServerGroup, people: list[User]) -> None:
    rota = make_rota(group, *people, rotation=Rotation.DAILY, starts_on=date(2026, 3, 2), handover=time(9))
    assert names(rota, datetime(2026, 3, 2, 8, 59, tzinfo=UTC)) == ["cleo"]
    assert names(rota, datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) == ["ann"]
    assert names(rota, datetime(2026, 3, 3, 8, 59, tzinfo=UTC)) == ["ann"]
    assert names(rota, datetime(2026, 3, 3, 9, 0, tzinfo=UTC)) == ["ben"]


def test_a_week_belongs_to_one_from_handover_day_to_handover_day(group: ServerGroup, people: list[User]) -> None:
    rota = make_rota(
        group,
        *people,
        rotation=Rotation.WEEKLY,
        starts_on=date(2026, 3, 4),
        handover=time(9),
        handover_day=Weekday.MONDAY,
    )
    assert names(rota, datetime(2026, 3, 4, 12, tzinfo=UTC)) == ["ann"]
    assert names(rota, datetime(2026, 3, 9, 8, 59, tzinfo=UTC)) == ["ann"]
    assert names(rota, datetime(2026, 3, 9, 9, 0, tzinfo=UTC)) == ["ben"]
    assert names(rota, datetime(2026, 3, 23, 9, 0, tzinfo=UTC)) == ["ann"]


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)], ids=["an hour lost", "an hour gained"])
def test_handover_is_at_the_rotas_time_of_day_when_its_clocks_change(
    group: ServerGroup, people: list[User], day: date
) -> None:
    rota = make_rota(
        group, *people, rotation=Rotation.DAILY, starts_on=day, handover=time(9), time_zone="Europe/Berlin"
    )
    nine = datetime.combine(day, time(9), tzinfo=BERLIN)
    assert names(rota, nine - timedelta(minutes=1)) == ["cleo"]
    assert names(rota, nine) == ["ann"]


@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25)], ids=["an hour lost", "an hour gained"])
def test_a_handover_within_the_changed_hour_happens_once(group: ServerGroup, people: list[User], day: date) -> None:
    rota = make_rota(
        group, *people, rotation=Rotation.DAILY, starts_on=day, handover=time(2, 30), time_zone="Europe/Berlin"
    )
    start = datetime.combine(day, time(0), tzinfo=BERLIN).astimezone(UTC)
    minutes = [names(rota, start + timedelta(minutes=minute)) for minute in range(0, 5 * 60, 10)]
    changes = [after for before, after in pairwise(minutes) if before != after]
    assert (minutes[0], changes) == (["cleo"], [["ann"]])


def test_a_stand_in_takes_the_turn_while_it_lasts(group: ServerGroup, people: list[User]) -> None:
    rota = make_rota(group, *people[:2], rotation=Rotation.DAILY, starts_on=NOW.date(), handover=time(0))
    StandIn.objects.create(rota=rota, person=people[2], starts_at=NOW, ends_at=NOW + timedelta(hours=1))
    hours = [names(rota, NOW + timedelta(minutes=minutes)) for minutes in (-1, 0, 59, 60)]
    assert hours == [["ann"], ["cleo"], ["cleo"], ["ann"]]
    assert [name for name, _, _ in told(group)] == ["cleo"]


def test_who_is_switched_off_is_passed_over_and_said(group: ServerGroup, people: list[User]) -> None:
    rota = make_rota(group, *people, rotation=Rotation.DAILY, starts_on=NOW.date(), handover=time(0))
    User.objects.filter(username="ann").update(is_active=False)
    assert names(rota, NOW) == ["ben"]
    assert told(group) == [("ann", "", "Their account is switched off."), ("ben", "ben@example.org", "")]


def test_the_next_takes_over_from_who_cannot_be_mailed(group: ServerGroup, people: list[User]) -> None:
    make_rota(group, *people, rotation=Rotation.WEEKLY, starts_on=NOW.date())
    people[0].emailaddress_set.update(verified=False)
    assert [(name, address) for name, address, _ in told(group)] == [("ann", ""), ("ben", "ben@example.org")]


def test_who_has_no_address_is_said_to_have_none(group: ServerGroup, people: list[User]) -> None:
    make_rota(group, people[0])
    people[0].emailaddress_set.all().delete()
    User.objects.update(email="")
    assert told(group) == [("ann", "", "They have no e-mail address.")]


def test_the_primary_address_is_used_when_several_are_verified(group: ServerGroup, people: list[User]) -> None:
    make_rota(group, people[0])
    people[0].emailaddress_set.update(primary=False)
    people[0].emailaddress_set.create(email="first@example.org", primary=True, verified=True)
    assert told(group)[0][1] == "first@example.org"


def test_an_address_that_bounced_is_still_tried_and_the_trouble_said(group: ServerGroup, people: list[User]) -> None:
    make_rota(group, people[0])
    Bounce.objects.create(address="Ann@example.org", at=NOW, answer="550 full")
    assert told(group) == [("ann", "ann@example.org", "ann@example.org refused the last mail: 550 full")]


def test_a_group_without_a_rota_is_served_by_the_one_for_the_rest(group: ServerGroup, people: list[User]) -> None:
    make_rota(None, people[1])
    assert [name for name, _, _ in told(group)] == ["ben"]
    make_rota(group, people[0])
    assert [name for name, _, _ in told(group)] == ["ann"]


def test_a_superuser_need_be_no_member(group: ServerGroup) -> None:
    make_rota(group, person("root", is_superuser=True))
    assert told(group) == [("root", "root@example.org", "")]


def test_handovers_are_listed_with_who_takes_over(group: ServerGroup, people: list[User]) -> None:
    rota = make_rota(group, *people[:2], rotation=Rotation.DAILY, starts_on=NOW.date(), handover=time(9))
    StandIn.objects.create(
        rota=rota, person=people[2], starts_at=NOW + timedelta(hours=1), ends_at=NOW + timedelta(hours=2)
    )
    listed = [(at.strftime("%d %H"), one.get_username()) for at, one in handovers(rota, NOW, 2)]
    assert listed == [("10 12", "ann"), ("10 13", "cleo"), ("10 14", "ann"), ("11 09", "ben"), ("12 09", "ann")]


def test_a_rota_without_people_has_no_turns(group: ServerGroup) -> None:
    rota = make_rota(group, rotation=Rotation.WEEKLY)
    assert (turn_at(rota, NOW), handovers(rota, NOW, 30), told(group)) == ([], [], [])
