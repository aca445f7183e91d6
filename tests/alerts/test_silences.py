"""Silences keep people quiet, not the truth; when they end, what is still wrong is told."""

from __future__ import annotations

from datetime import datetime

import pytest
from django.db.models import QuerySet

from alerts import incidents, silences
from alerts.models import DeliveryStatus, Entry, Incident, Scope, Silence, What
from alerts.quiet import covering
from alerts.rules.observation import Phase
from monitoring.models import Metric, Series, Server
from portal.accounts.models import User
from portal.toolkit.sentence import say
from tests.alerts.makers import apply, at, level_of, mails, mark, observe, open_incident, whats

pytestmark = pytest.mark.django_db

BEFORE = at(-10)


def quiet(
    by: User, server: Server, *, now: datetime = BEFORE, metric: Metric | None = None, **times: datetime
) -> Silence:
    span = {"starts_at": BEFORE, "ends_at": at(600), **times}
    return silences.silence(by, scope=Scope.SERVER, server=server, metric=metric, reason="Moving", now=now, **span)


def test_what_breaks_in_a_silence_shows_and_is_mailed_to_nobody(web: Server, cpu: Series, ben: User) -> None:
    quiet(ben, web)
    apply(observe(cpu, Phase.CRITICAL))
    assert (mails(), level_of(web)) == ([], "critical")
    withheld = Entry.objects.filter(what=What.WITHHELD)
    assert {(entry.about_name, say(entry.text)) for entry in withheld} == {
        ("ann", "Silenced: Moving"),
        ("ben", "Silenced: Moving"),
    }


def test_what_still_fires_when_it_ends_is_mailed_then_and_once(web: Server, cpu: Series, ben: User) -> None:
    quiet(ben, web)
    apply(observe(cpu, Phase.CRITICAL))
    incidents.tend(at(599))
    assert mails() == []
    incidents.tend(at(600))
    incidents.tend(at(605))
    assert mails() == [("ann", "fired", "critical"), ("ben", "fired", "critical")]
    assert whats(open_incident(web)) == ["fired", "withheld", "withheld", "unsilenced", "queued", "queued"]


def test_one_that_is_ended_by_hand_tells_at_once_who_did_it(web: Server, cpu: Series, ann: User, ben: User) -> None:
    made = quiet(ben, web)
    apply(observe(cpu, Phase.CRITICAL))
    silences.end(made, ann, at(20))
    made.refresh_from_db()
    assert (made.ends_at, len(mails())) == (at(20), 2)
    assert Entry.objects.get(what=What.UNSILENCED).by == ann


def test_one_that_is_deleted_in_the_admin_ends_as_well(web: Server, cpu: Series, ben: User) -> None:
    made = quiet(ben, web)
    apply(observe(cpu, Phase.CRITICAL))
    made.delete()
    incidents.tend(at(20))
    assert len(mails()) == 2


def test_one_that_has_not_begun_is_deleted_when_ended(web: Server, ben: User) -> None:
    made = quiet(ben, web, starts_at=at(100))
    silences.end(made, ben, at(20))
    assert not Silence.objects.exists()


def test_ending_what_has_ended_changes_nothing(web: Server, ben: User) -> None:
    made = quiet(ben, web)
    silences.end(made, ben, at(700))
    made.refresh_from_db()
    assert made.ends_at == at(600)


def test_what_recovers_in_a_silence_is_told_to_whoever_was_told(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    mark(DeliveryStatus.ACCEPTED)
    quiet(ben, web, now=at(5), starts_at=at(5))
    apply(observe(cpu, Phase.FINE, at(10), 42.0))
    assert [kind for _, kind, _ in mails()[2:]] == ["recovered", "recovered"]


def test_what_broke_and_recovered_in_a_silence_is_told_to_nobody(web: Server, cpu: Series, ben: User) -> None:
    quiet(ben, web)
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.FINE, at(10), 42.0))
    incidents.tend(at(700))
    assert mails() == []


def test_a_silence_is_noted_on_what_was_open_before_it(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    quiet(ben, web, now=at(5), starts_at=at(5))
    entry = Entry.objects.get(what=What.SILENCED)
    assert (entry.by, say(entry.text)) == (ben, "Silenced: Moving")
    incidents.tend(at(700))
    assert len(mails()) == 2


def test_one_that_begins_later_is_noted_when_it_begins(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    quiet(ben, web, now=at(5), starts_at=at(60))
    assert not Entry.objects.filter(what=What.SILENCED).exists()
    incidents.tend(at(60))
    assert Entry.objects.filter(what=What.SILENCED).count() == 1


def test_a_level_that_rose_in_a_silence_is_told_when_it_ends(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.WARNING))
    quiet(ben, web, now=at(5), starts_at=at(5))
    apply(observe(cpu, Phase.CRITICAL, at(10)))
    incidents.tend(at(700))
    assert mails()[2:] == [("ann", "raised", "critical"), ("ben", "raised", "critical")]


def test_a_reminder_that_a_silence_kept_back_is_sent_when_it_ends(web: Server, cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason="", until=at(60), now=at(5))
    quiet(ben, web, now=at(10), starts_at=at(10))
    incidents.tend(at(60))
    assert len(mails()) == 2
    incidents.tend(at(600))
    assert mails()[2:] == [("ann", "reminder", "critical"), ("ben", "reminder", "critical")]


def test_what_somebody_has_is_not_mailed_when_the_silence_ends(web: Server, cpu: Series, ben: User) -> None:
    quiet(ben, web)
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(5))
    incidents.tend(at(700))
    assert mails() == []


def test_a_silence_of_one_metric_covers_no_other(web: Server, cpu: Series, memory: Series, ben: User) -> None:
    quiet(ben, web, metric=cpu.metric)
    apply(observe(cpu, Phase.CRITICAL))
    assert covering(open_incident(web), silences.active(at(1))) is not None
    apply(observe(memory, Phase.CRITICAL, at(5)))
    assert covering(open_incident(web), silences.active(at(5))) is None
    assert mails() == [("ann", "fired", "critical"), ("ben", "fired", "critical")]


def test_a_silence_holds_from_its_start_to_just_before_its_end(web: Server, ben: User) -> None:
    made = quiet(ben, web, starts_at=at(0))
    assert [silences.active(at(second)) == [made] for second in (-1, 0, 599, 600)] == [False, True, True, False]


def test_two_that_look_at_once_say_once_that_it_ended(
    web: Server, cpu: Series, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet(ben, web)
    apply(observe(cpu, Phase.CRITICAL))
    Silence.objects.all().delete()
    really = silences.locked

    def somebody_else_was_first(which: QuerySet[Incident]) -> list[Incident]:
        monkeypatch.setattr(silences, "locked", really)
        silences.reconcile(at(20))
        return really(which)

    monkeypatch.setattr(silences, "locked", somebody_else_was_first)
    silences.reconcile(at(20))
    assert whats(open_incident(web)).count(What.UNSILENCED) == 1


def test_a_level_that_rose_in_a_silence_is_told_when_it_ends_although_somebody_has_it(
    web: Server, cpu: Series, ann: User, ben: User
) -> None:
    apply(observe(cpu, Phase.WARNING))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(1))
    made = quiet(ben, web, now=at(2))
    apply(observe(cpu, Phase.CRITICAL, at(5)))
    silences.end(made, ann, at(10))
    assert mails()[2:] == [("ann", "raised", "critical"), ("ben", "raised", "critical")]


def test_whoever_took_it_as_bad_as_it_is_spares_the_others_when_the_silence_ends(
    web: Server, cpu: Series, ann: User, ben: User
) -> None:
    apply(observe(cpu, Phase.WARNING))
    made = quiet(ben, web, now=at(2))
    apply(observe(cpu, Phase.CRITICAL, at(5)))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(6))
    silences.end(made, ann, at(10))
    assert len(mails()) == 2
