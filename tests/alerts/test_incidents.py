"""The life of an incident, from the first bad sample to the last mail."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from alerts import incidents, timeline
from alerts.models import Condition, Delivery, Entry, Incident, Problem, Scope, What
from alerts.rules.observation import Phase
from monitoring.models import Series, Server, ServerGroup, ServerState
from portal.accounts.models import User
from portal.toolkit.sentence import say
from tests.alerts.makers import (
    apply,
    at,
    level_of,
    mails,
    make_many_series,
    make_series,
    make_server,
    make_threshold,
    observe,
    open_incident,
    whats,
)

pytestmark = pytest.mark.django_db


def test_the_first_bad_sample_opens_an_incident_and_mails_everyone_on_call(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incident = open_incident(web)
    assert (incident.status, incident.level, incident.peak_level) == ("firing", "critical", "critical")
    assert mails() == [("ann", "fired", "critical"), ("ben", "fired", "critical")]
    assert whats(incident) == ["fired", "queued", "queued"]


def test_the_card_says_why_it_is_red(web: Server, cpu: Series, memory: Series) -> None:
    apply(observe(cpu, Phase.WARNING), observe(memory, Phase.CRITICAL, at(1)))
    web.refresh_from_db()
    assert web.state == "critical"
    assert say(web.state_reason) == "Memory 97.2% is above 85.0%, and 1 more"


def test_it_recovers_and_everyone_who_was_told_is_told(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.FINE, at(5), 42.0))
    incident = Incident.objects.get()
    assert incident.status == "resolved"
    assert (incident.resolved_at, level_of(web)) == (at(5), "healthy")
    assert mails()[2:] == [("ann", "recovered", "critical"), ("ben", "recovered", "critical")]


def test_nobody_is_told_of_what_may_still_pass(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.PENDING))
    incident = open_incident(web)
    assert (incident.status, mails(), level_of(web)) == ("pending", [], "healthy")


def test_what_passes_before_it_fires_leaves_nothing(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.PENDING))
    apply(observe(cpu, Phase.FINE, at(5), 42.0))
    assert not Incident.objects.exists()
    assert not Problem.objects.exists()


def test_what_lasts_fires_and_began_with_its_first_bad_sample(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.PENDING))
    apply(observe(cpu, Phase.WARNING, at(60), began_at=at(0)))
    incident = open_incident(web)
    assert (incident.began_at, incident.fired_at) == (at(0), at(60))
    assert whats(incident) == ["began", "fired", "queued", "queued"]


def test_a_second_problem_is_part_of_the_same_event(web: Server, cpu: Series, memory: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(memory, Phase.CRITICAL, at(5)))
    assert len(mails()) == 2
    assert whats(open_incident(web))[3:] == ["joined", "folded", "folded"]


def test_thirty_problems_at_once_are_one_mail_a_person(web: Server, ben: User) -> None:
    apply(*(observe(make_series(web, f"metric-{number}"), Phase.CRITICAL) for number in range(30)))
    assert mails() == [("ann", "fired", "critical"), ("ben", "fired", "critical")]


def test_a_level_that_rises_is_one_more_mail_and_only_one(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.WARNING))
    apply(observe(cpu, Phase.CRITICAL, at(5)))
    apply(observe(cpu, Phase.WARNING, at(10)))
    apply(observe(cpu, Phase.CRITICAL, at(15)))
    assert [kind for name, kind, _ in mails() if name == "ann"] == ["fired", "raised"]
    assert open_incident(web).peak_level == "critical"


def test_several_changes_at_once_are_one_mail_with_the_level_that_was_reached(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.WARNING), observe(cpu, Phase.CRITICAL, at(5)), observe(cpu, Phase.WARNING, at(10)))
    assert mails() == [("ann", "fired", "critical"), ("ben", "fired", "critical")]


def test_what_broke_healed_and_broke_between_two_looks_is_told_whole(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL), observe(cpu, Phase.FINE, at(5), 42.0), observe(cpu, Phase.CRITICAL, at(10)))
    first, second = Incident.objects.order_by("pk")
    assert [kind for _, kind, _ in mails(first)] == ["fired", "fired", "recovered", "recovered"]
    assert [kind for _, kind, _ in mails(second)] == ["fired", "fired"]
    assert open_incident(web) == second


def test_observations_come_in_any_order(web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.FINE, at(5), 42.0), observe(cpu, Phase.CRITICAL, at(0)))
    assert Incident.objects.get().status == "resolved"


def test_what_is_still_pending_when_the_rest_recovers_gets_an_incident_of_its_own(
    web: Server, cpu: Series, memory: Series, ben: User
) -> None:
    apply(observe(cpu, Phase.CRITICAL), observe(memory, Phase.PENDING, at(1)))
    apply(observe(cpu, Phase.FINE, at(5), 42.0))
    old, new = Incident.objects.order_by("pk")
    assert (old.status, new.status) == ("resolved", "pending")
    assert Problem.objects.get(metric="memory").incident == new


def test_what_moved_on_and_never_fired_goes_back_to_where_it_began(web: Server, cpu: Series, memory: Series) -> None:
    apply(
        observe(cpu, Phase.CRITICAL),
        observe(memory, Phase.PENDING, at(1)),
        observe(cpu, Phase.FINE, at(5), 42.0),
        observe(memory, Phase.FINE, at(10), 42.0),
    )
    assert Incident.objects.get().status == "resolved"
    assert not Problem.objects.filter(resolved_at=None).exists()


def test_the_same_observation_again_changes_nothing(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    before = whats(open_incident(web))
    apply(observe(cpu, Phase.CRITICAL))
    assert (whats(open_incident(web)), len(mails())) == (before, 2)


def test_a_sample_that_changes_nothing_is_remembered(web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.CRITICAL, at(5), 99.0, limit=90.0))
    problem = Problem.objects.get()
    assert (problem.last_value, problem.peak, problem.limit, problem.value) == (99.0, 99.0, 90.0, 99.0)


def test_another_threshold_may_win_and_the_problem_goes_on(web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    narrower = make_threshold(scope=Scope.SERVER, server=web, critical=50.0)
    apply(observe(cpu, Phase.CRITICAL, at(5), threshold_id=narrower.pk))
    assert Problem.objects.get().threshold == narrower


def test_a_thousand_samples_that_change_nothing_are_one_update(web: Server) -> None:
    series = make_many_series(web, 1000)
    apply(*(observe(one, Phase.CRITICAL) for one in series))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        incidents.apply([observe(one, Phase.CRITICAL, at(5), 98.0) for one in series], at(5))
    assert len(queries) == 2
    assert Problem.objects.filter(last_value=98.0).count() == 1000


def test_two_hundred_servers_that_break_at_once_take_few_queries(group: ServerGroup, ben: User) -> None:
    series = [make_series(make_server(f"node-{number}", group)) for number in range(200)]
    observations = [observe(one, Phase.CRITICAL) for one in series]
    with CaptureQueriesContext(connection) as queries:
        apply(*observations)
    assert len(queries) <= 30
    assert len(mails()) == 400


def test_observations_of_what_is_gone_are_let_be(web: Server, cpu: Series) -> None:
    gone = observe(cpu, Phase.CRITICAL)
    web.delete()
    apply(gone)
    assert not Incident.objects.exists()


def test_a_deleted_server_ends_its_incident_and_the_mails_say_so(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    web.delete()
    incidents.tend(at(10))
    incident = Incident.objects.get()
    assert (incident.status, incident.server_name) == ("resolved", "web-1")
    assert say(Problem.objects.get().ended_because) == "No longer watched: the server was deleted."
    assert mails()[2:] == [("ann", "recovered", "critical"), ("ben", "recovered", "critical")]


def test_a_deleted_series_ends_its_problem_and_no_other(web: Server, cpu: Series, memory: Series) -> None:
    apply(observe(cpu, Phase.WARNING), observe(memory, Phase.CRITICAL))
    memory.delete()
    incidents.tend(at(10))
    assert (open_incident(web).level, level_of(web)) == ("warning", "warning")


# --- States


def test_a_paused_server_stays_paused(group: ServerGroup) -> None:
    server = make_server("asleep", group, ServerState.PAUSED)
    apply(observe(make_series(server), Phase.CRITICAL))
    assert level_of(server) == "paused"


def test_fresh_samples_bring_a_server_back_from_offline_as_what_they_say(group: ServerGroup) -> None:
    server = make_server("back", group, ServerState.OFFLINE)
    apply(observe(make_series(server), Phase.WARNING))
    assert level_of(server) == "warning"


def test_missing_data_does_not_bring_a_server_back_from_offline(group: ServerGroup) -> None:
    server = make_server("gone", group, ServerState.OFFLINE)
    apply(observe(make_series(server), Phase.CRITICAL, value=None, condition=Condition.NO_DATA))
    assert level_of(server) == "offline"


def test_missing_data_shows_on_a_server_that_else_is_well(web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.WARNING, value=None, condition=Condition.NO_DATA))
    web.refresh_from_db()
    assert (web.state, say(web.state_reason)) == ("warning", "CPU sends no data")


def test_what_is_only_worth_knowing_colours_nothing(web: Server, cpu: Series) -> None:
    apply(observe(cpu, Phase.INFO))
    assert (open_incident(web).level, level_of(web)) == ("info", "healthy")


def test_states_that_are_right_cost_two_queries(web: Server, cpu: Series, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        incidents.reflect([web.pk], at(0))


# --- People


def test_whoever_acknowledges_owns_it(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason="Looking", until=at(600), now=at(10))
    incident = open_incident(web)
    assert (incident.status, incident.acknowledged_by, incident.acknowledged_until) == ("acknowledged", ben, at(600))
    entry = Entry.objects.get(what=What.ACKNOWLEDGED)
    assert (entry.by_name, say(entry.text)) == ("ben", "Looking")


def test_a_reason_that_looks_like_a_stored_sentence_is_only_text(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason='{"say": "%(x)s"', until=None, now=at(10))
    assert say(Entry.objects.get(what=What.ACKNOWLEDGED).text) == '{"say": "%(x)s"'


def test_it_can_be_taken_over_and_given_back(web: Server, cpu: Series, ann: User, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ann, reason="", until=None, now=at(10))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(20))
    assert open_incident(web).acknowledged_by == ben
    incidents.release(open_incident(web), ben, at(30))
    incident = open_incident(web)
    assert (incident.status, incident.acknowledged_by, incident.acknowledged_at) == ("firing", None, None)


def test_an_acknowledgement_that_runs_out_reminds_everyone_on_call(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason="", until=at(600), now=at(10))
    incidents.tend(at(599))
    assert open_incident(web).status == "acknowledged"
    incidents.tend(at(600))
    incidents.tend(at(601))
    assert open_incident(web).status == "firing"
    assert mails()[2:] == [("ann", "reminder", "critical"), ("ben", "reminder", "critical")]


def test_each_acknowledgement_that_runs_out_reminds_again(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    for start in (10, 1000):
        incidents.acknowledge(open_incident(web), ben, reason="", until=at(start + 60), now=at(start))
        incidents.tend(at(start + 60))
    keys = [row.key.split("-", 2)[2] for row in Delivery.objects.filter(person=ben).order_by("pk")]
    assert keys == ["fired-critical", "reminder-critical-1", "reminder-critical-2"]


def test_nothing_can_be_done_about_what_is_over(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    shown = open_incident(web)
    apply(observe(cpu, Phase.FINE, at(5), 42.0))
    for act in (
        lambda: incidents.acknowledge(shown, ben, reason="", until=None, now=at(10)),
        lambda: incidents.release(shown, ben, at(10)),
        lambda: incidents.comment(shown, ben, "Too late", at(10)),
    ):
        with pytest.raises(incidents.TooLate, match="It is over already"):
            act()


def test_what_does_not_fire_yet_cannot_be_acknowledged(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.PENDING))
    with pytest.raises(incidents.TooLate, match="It does not fire yet"):
        incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(10))


def test_a_comment_is_on_the_time_line_as_it_was_written(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.comment(open_incident(web), ben, "<b>Disk</b> swapped", at(10))
    entry = Entry.objects.get(what=What.COMMENTED)
    assert (entry.text, entry.by) == ("<b>Disk</b> swapped", ben)


def test_pages_are_told_after_the_commit(
    web: Server, cpu: Series, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(timeline, "touch", told.append)
    with django_capture_on_commit_callbacks(execute=True):
        apply(observe(cpu, Phase.CRITICAL))
        assert told == []
    assert told == [{"alerts": None, "incidents": None, "incident": [open_incident(web).pk]}]


@pytest.mark.django_db(transaction=True)
def test_who_acknowledges_while_it_recovers_is_told_that_it_is_over(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    shown, recovering, waiting = open_incident(web), threading.Event(), threading.Event()

    def acknowledge() -> str:
        try:
            recovering.wait(10)
            waiting.set()
            incidents.acknowledge(shown, ben, reason="", until=None, now=at(6))
        except incidents.TooLate as error:
            return str(error)
        finally:
            connections.close_all()
        return "acknowledged"

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(acknowledge)
        with transaction.atomic():
            incidents.apply([observe(cpu, Phase.FINE, at(5), 42.0)], at(5))
            recovering.set()
            waiting.wait(10)
            time.sleep(0.2)
            assert not answer.done()
        assert answer.result(10) == "It is over already."
    assert Incident.objects.get().status == "resolved"


@pytest.mark.django_db(transaction=True)
def test_what_recovers_while_it_is_acknowledged_ends_owned(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))

    def recover() -> None:
        try:
            apply(observe(cpu, Phase.FINE, at(5), 42.0))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(4))
            recovered = pool.submit(recover)
            time.sleep(0.2)
            assert not recovered.done()
        recovered.result(10)
    incident = Incident.objects.get()
    assert (incident.status, incident.acknowledged_by) == ("resolved", ben)
