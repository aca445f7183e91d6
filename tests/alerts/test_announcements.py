"""What has just happened, in words, for the notices on every open page."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from alerts import incidents
from alerts.models import Condition
from alerts.queries.announce import MOST_ANNOUNCED, Announcement, board_for
from alerts.rules.observation import Phase
from monitoring.models import Series, Server, ServerGroup, ServerTemplate
from portal.accounts.models import User
from tests.alerts.makers import apply, at, make_series, make_server, observe, open_incident

pytestmark = pytest.mark.django_db


def told(user: User, seconds: float = 1) -> Sequence[Announcement]:
    return board_for(user, at(seconds)).announcements


def texts(user: User, seconds: float = 1) -> list[str]:
    return [one.text for one in told(user, seconds)]


def test_an_incident_that_fires_is_announced_at_its_level(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    [one] = told(ben)
    assert (one.text, one.kind) == ("Critical: web-1, CPU 97.2% is above 85.0%", "error")
    assert (one.incident, one.group, one.firing) == (open_incident(web).pk, web.group_id, True)


@pytest.mark.parametrize(("phase", "kind"), [(Phase.INFO, "info"), (Phase.WARNING, "warning")])
def test_a_lower_level_looks_lower(cpu: Series, ben: User, phase: Phase, kind: str) -> None:
    apply(observe(cpu, phase))
    assert [one.kind for one in told(ben)] == [kind]


def test_what_gets_worse_is_announced_instead_of_what_it_was(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.WARNING, value=82.0, limit=80.0))
    before = told(ben)[0].entry
    apply(observe(cpu, Phase.CRITICAL, at(5)))
    [one] = told(ben, 6)
    assert (one.text, one.kind) == ("Worse, now Critical: web-1, CPU 97.2% is above 85.0%", "error")
    assert one.entry != before


def test_a_recovery_is_announced_with_how_long_it_took(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.FINE, at(250), 40.0))
    [one] = told(ben, 251)
    assert (one.text, one.kind, one.firing) == ("Recovered after 4 min 10 s: web-1", "success", False)


def test_what_ended_for_another_reason_says_it(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.FINE, at(60), None, because="Paused by an admin."))
    assert texts(ben, 61) == ["Over after 1 min: web-1, Paused by an admin."]


def test_what_pends_and_what_joins_is_not_announced(cpu: Series, memory: Series, ben: User) -> None:
    apply(observe(cpu, Phase.PENDING))
    assert texts(ben) == []
    apply(observe(cpu, Phase.CRITICAL, at(5)))
    apply(observe(memory, Phase.CRITICAL, at(6)))
    assert texts(ben, 7) == ["Critical: web-1, CPU 97.2% is above 85.0%"]


def test_a_server_that_falls_silent_is_announced_without_a_number(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.WARNING, value=None, condition=Condition.NO_DATA, limit=None))
    assert texts(ben) == ["Warning: web-1, CPU sends no data"]


def test_a_simulated_server_is_called_so(group: ServerGroup, ben: User) -> None:
    template = ServerTemplate.objects.create(name="web", kind="web", profile={})
    apply(observe(make_series(make_server("sim-1", group, template=template)), Phase.CRITICAL))
    assert texts(ben) == ["Critical: sim-1 (simulated), CPU 97.2% is above 85.0%"]


def test_what_somebody_has_is_announced_without_an_offer_to_take_it(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(1))
    assert [one.firing for one in told(ben, 2)] == [False]


def test_history_is_not_announced(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    assert len(told(ben, 299)) == 1
    assert told(ben, 301) == []


def test_a_storm_is_cut_to_the_newest(group: ServerGroup, ben: User) -> None:
    rows = [make_series(make_server(f"db-{number:02}", group)) for number in range(MOST_ANNOUNCED + 10)]
    apply(*(observe(one, Phase.CRITICAL, at(number / 10)) for number, one in enumerate(rows)))
    shown = texts(ben, 10)
    assert len(shown) == MOST_ANNOUNCED
    assert "db-29" in shown[-1]
    assert "db-10" in shown[0]
