"""`manage.py prepare`: what a fresh portal has, and what stays when it runs again."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

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
    assert Source.objects.get().collector == Collector.HOST
    assert Server.objects.filter(simulated=True).count() == 30
    assert Server.objects.filter(simulated=False).count() == 1


def test_run_again_it_changes_nothing_that_is_there() -> None:
    call_command("prepare", servers=3)
    before = list(Server.objects.values_list("pk", "name"))
    Server.objects.filter(simulated=False).update(name="renamed")
    call_command("prepare", servers=3)
    assert Server.objects.filter(name="renamed").exists()
    assert Server.objects.count() == len(before)


def test_servers_0_leaves_the_fleet_out() -> None:
    call_command("prepare", servers=0)
    assert not Server.objects.filter(simulated=True).exists()


@pytest.mark.parametrize("servers", [-1, 20_001])
def test_a_fleet_of_impossible_size_is_refused_in_words(servers: int) -> None:
    with pytest.raises(CommandError, match="use a number from 0 to 20000"):
        call_command("prepare", servers=servers)
