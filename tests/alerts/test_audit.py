"""The auditor finds what should have been sent and was not, and mends it once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from alerts import incidents, silences
from alerts.audit import Found, audit
from alerts.models import Delivery, DeliveryKind, DeliveryStatus, Entry, Rota, Rotation, Scope, What
from alerts.rules.observation import Phase
from monitoring.models import Series, Server, ServerGroup
from portal.accounts.models import User
from tests.alerts.makers import (
    NOW,
    apply,
    at,
    mails,
    make_person,
    make_rota,
    make_series,
    make_server,
    mark,
    observe,
    open_incident,
)

pytestmark = pytest.mark.django_db


def test_when_all_is_well_it_finds_nothing(cpu: Series, ben: User, django_assert_num_queries: Any) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    with django_assert_num_queries(7):  # three questions, and two transactions around two of them
        assert audit(at(60)) == Found()


def test_a_rota_that_is_filled_later_is_told_of_what_still_fires(cpu: Series, group: ServerGroup) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    assert audit(at(60)) == Found()
    make_rota(group, make_person("ann", group))
    assert audit(at(120)) == Found(breaks=1)
    assert audit(at(180)) == Found()
    assert mails() == [("ann", "fired", "critical")]


def test_looking_again_leaves_no_line_where_nobody_can_be_told(cpu: Series, group: ServerGroup) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    before = Entry.objects.count()
    audit(at(60))
    assert Entry.objects.count() == before


def test_an_address_that_is_verified_later_is_told_then(cpu: Series, ann: User, group: ServerGroup) -> None:
    make_rota(group, ann)
    ann.emailaddress_set.update(verified=False)
    apply(observe(cpu, Phase.CRITICAL))
    ann.emailaddress_set.update(verified=True)
    assert audit(at(60)) == Found(breaks=1)


def test_the_next_shift_is_told_when_nobody_of_this_one_could_be(cpu: Series, group: ServerGroup) -> None:
    ann, ben = (make_person(name, group) for name in ("ann", "ben"))
    rota = make_rota(group, ann, rotation=Rotation.DAILY)
    apply(observe(cpu, Phase.CRITICAL))
    mark(DeliveryStatus.DEAD)
    assert audit(at(60)) == Found()
    rota.members.create(person=ben, position=1)
    assert audit(at(120)) == Found(breaks=1)
    assert mails()[-1] == ("ben", "fired", "critical")


def test_what_somebody_has_or_a_silence_covers_is_not_missing(cpu: Series, web: Server, group: ServerGroup) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    ann = make_person("ann", group)
    make_rota(group, ann)
    silence = {"scope": Scope.ALL, "reason": "Moving", "starts_at": at(5), "ends_at": at(100), "now": at(5)}
    silences.silence(ann, **silence)
    assert audit(at(60)) == Found()
    incidents.acknowledge(open_incident(web), ann, reason="", until=None, now=at(90))
    assert audit(at(120)) == Found()


def test_a_recovery_without_its_mail_is_mailed(cpu: Series, ann: User, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    mark(DeliveryStatus.ACCEPTED)
    apply(observe(cpu, Phase.FINE, at(5), 42.0))
    Delivery.objects.filter(kind=DeliveryKind.RECOVERED, person=ann).delete()
    ann.delete()
    assert audit(at(60)) == Found(recoveries=1)
    assert audit(at(120)) == Found()
    assert sorted(row.address for row in Delivery.objects.filter(kind=DeliveryKind.RECOVERED)) == [
        "ann@example.org",
        "ben@example.org",
    ]


def test_a_recovery_that_died_is_not_made_again(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL), observe(cpu, Phase.FINE, at(5), 42.0))
    mark(DeliveryStatus.ACCEPTED, kind=DeliveryKind.FIRED)
    mark(DeliveryStatus.DEAD)
    assert audit(at(60)) == Found()


def test_a_mail_that_nobody_takes_up_is_counted_and_the_drainer_woken(
    cpu: Series, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    woken: list[object] = []
    monkeypatch.setattr("alerts.desk.wake", woken.append)
    assert audit(at(120)) == Found()
    assert audit(at(121)) == Found(overdue=2)
    assert len(woken) == 1
    Delivery.objects.update(leased_until=NOW + timedelta(seconds=150))
    assert audit(at(122)) == Found()


def test_a_level_below_that_of_the_rota_is_not_missing(cpu: Series, ben: User) -> None:
    Rota.objects.update(least_level="critical")
    apply(observe(cpu, Phase.WARNING))
    assert audit(at(60)) == Found()
    assert Entry.objects.filter(what=What.SKIPPED).count() == 1


def test_those_of_whom_nobody_is_told_do_not_keep_the_others_waiting(
    group: ServerGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alerts.audit.MENDED_AT_ONCE", 2)
    nowhere = ServerGroup.objects.create(name="Without a rota")
    for number in range(3):
        apply(observe(make_series(make_server(f"lonely-{number}", nowhere)), Phase.CRITICAL))
    apply(observe(make_series(make_server("web-1", group)), Phase.CRITICAL))
    make_rota(group, make_person("ann", group))
    assert audit(at(60)) == Found(breaks=1)


def test_a_recovery_that_waits_for_the_mail_before_it_is_not_overdue(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.FINE, at(10), 40.0))
    Delivery.objects.filter(kind=DeliveryKind.FIRED).update(next_attempt_at=at(900))  # the mail server is away
    assert audit(at(300)) == Found()
