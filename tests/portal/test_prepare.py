"""`manage.py prepare`: what a fresh portal has, and what stays when it runs again."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from django.utils import timezone

from alerts.models import Rota
from alerts.oncall import on_call
from monitoring.models import Collector, Server, ServerGroup, Source
from portal.accounts.models import User

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def demo_password(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PORTAL_DEMO_PASSWORD", "correct horse battery staple")
    return "correct horse battery staple"


def test_it_makes_the_demo_account_the_groups_this_machine_and_the_fleet(demo_password: str) -> None:
    call_command("prepare", servers=30)
    demo = User.objects.get(username="demo")
    assert demo.check_password(demo_password)
    assert demo.is_staff
    assert set(ServerGroup.objects.values_list("name", flat=True)) == {"Machines", "Simulated fleet"}
    assert set(Source.objects.values_list("collector", "url")) == {
        (Collector.HOST, ""),
        (Collector.POSTGRES, "own:"),
        (Collector.REDIS, "own:"),
    }
    assert Server.objects.filter(simulated=True).count() == 30
    assert Server.objects.filter(simulated=False).count() == 3


def test_the_demo_account_is_on_call_for_every_group_from_the_first_minute() -> None:
    call_command("prepare", servers=0)
    (one,) = on_call(None, timezone.now())
    assert (one.name, one.address, one.trouble) == ("Demo", "demo@localhost", "")
    for group in ServerGroup.objects.all():
        assert [each.address for each in on_call(group.pk, timezone.now())] == ["demo@localhost"]


def test_a_rota_that_was_deleted_and_an_address_that_was_taken_away_stay_away() -> None:
    call_command("prepare", servers=0)
    Rota.objects.all().delete()
    EmailAddress.objects.all().delete()
    User.objects.update(email="")
    call_command("prepare", servers=0)
    assert not Rota.objects.exists()
    assert not EmailAddress.objects.exists()
    assert User.objects.get(username="demo").email == ""


def test_a_rota_that_somebody_made_before_is_left_alone() -> None:
    made = Rota.objects.create(starts_on="2026-01-01")
    call_command("prepare", servers=0)
    assert list(Rota.objects.all()) == [made]
    assert not made.members.exists()


def test_run_again_it_changes_nothing_that_is_there() -> None:
    call_command("prepare", servers=3)
    before = list(Server.objects.values_list("pk", "name"))
    Server.objects.filter(simulated=False, kind="host").update(name="renamed")
    call_command("prepare", servers=3)
    assert Server.objects.filter(name="renamed").exists()
    assert Server.objects.count() == len(before)


def test_an_own_service_that_nobody_wants_to_be_read_is_not_read_again() -> None:
    call_command("prepare", servers=0)
    Source.objects.get(collector=Collector.REDIS).delete()
    Server.objects.get(kind="database").delete()
    call_command("prepare", servers=0)
    assert set(Source.objects.values_list("collector", flat=True)) == {Collector.HOST}
    assert not Server.objects.filter(kind="database").exists()


def test_servers_0_leaves_the_fleet_out() -> None:
    call_command("prepare", servers=0)
    assert not Server.objects.filter(simulated=True).exists()


@pytest.mark.parametrize("servers", [-1, 20_001])
def test_a_fleet_of_impossible_size_is_refused_in_words(servers: int) -> None:
    with pytest.raises(CommandError, match="use a number from 0 to 20000"):
        call_command("prepare", servers=servers)
