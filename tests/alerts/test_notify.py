"""Who is told, who is not, and that each decision can be read on the time line."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from alerts import incidents, notify
from alerts.models import Delivery, DeliveryKind, DeliveryStatus, Entry, Incident, Level, Rota, Rotation, What
from alerts.rules.observation import Phase
from monitoring.models import Series, Server, ServerGroup
from portal.accounts.models import User
from portal.toolkit.sentence import say
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
from tests.cast import person

pytestmark = pytest.mark.django_db


def decisions(what: What) -> list[tuple[str, str]]:
    """(about whom, what it says)."""
    return [(entry.about_name, say(entry.text)) for entry in Entry.objects.filter(what=what).order_by("pk")]


def kill(row: Delivery) -> None:
    """As the drainer does when the mail server refuses it for good."""
    with transaction.atomic():
        row.status = DeliveryStatus.DEAD
        row.save(update_fields=["status"])
        notify.pass_on(row, at(10))


def test_a_mail_keeps_the_address_the_language_and_the_zone_of_its_person(group: ServerGroup, cpu: Series) -> None:
    make_rota(group, make_person("ann", group, language="ko", time_zone="Asia/Seoul"), time_zone="Europe/Paris")
    apply(observe(cpu, Phase.CRITICAL))
    row = Delivery.objects.get()
    assert (row.address, row.language, row.time_zone) == ("ann@example.org", "ko", "Asia/Seoul")
    assert (row.key, row.next_attempt_at) == (f"{row.incident_id}-{row.person_id}-fired-critical", NOW)


def test_who_chose_nothing_gets_the_portals_language_and_the_rotas_zone(group: ServerGroup, cpu: Series) -> None:
    make_rota(group, make_person("ann", group), time_zone="Europe/Paris")
    apply(observe(cpu, Phase.CRITICAL))
    row = Delivery.objects.get()
    assert (row.language, row.time_zone) == ("en", "Europe/Paris")


def test_an_unverified_address_is_skipped_with_the_reason(cpu: Series, ann: User, ben: User) -> None:
    ann.emailaddress_set.update(verified=False)
    apply(observe(cpu, Phase.CRITICAL))
    assert mails() == [("ben", "fired", "critical")]
    assert decisions(What.SKIPPED) == [("ann", "Their e-mail address ann@example.org is not verified.")]


def test_who_may_not_see_the_group_is_not_mailed_about_it(cpu: Series, group: ServerGroup) -> None:
    make_rota(group, person("stranger"))
    apply(observe(cpu, Phase.CRITICAL))
    assert mails() == []
    assert decisions(What.SKIPPED) == [("stranger", "They may not see the servers of this group.")]


@pytest.mark.parametrize("has_rota", [True, False])
def test_nobody_on_call_is_said(cpu: Series, group: ServerGroup, has_rota: bool) -> None:
    if has_rota:
        make_rota(group)
    apply(observe(cpu, Phase.CRITICAL))
    assert decisions(What.SKIPPED) == [("", "Nobody is on call for this group.")]


def test_less_than_the_rotas_level_is_shown_and_not_mailed_until_it_rises(cpu: Series, ben: User) -> None:
    apply(observe(cpu, Phase.INFO))
    assert (mails(), len(decisions(What.SKIPPED))) == ([], 1)
    apply(observe(cpu, Phase.WARNING, at(5)))
    assert mails() == [("ann", "fired", "warning"), ("ben", "fired", "warning")]


@pytest.mark.parametrize(("allowed", "count"), [(True, 2), (False, 0)])
def test_a_simulated_server_is_mailed_only_where_that_is_allowed(
    cpu: Series, web: Server, ben: User, settings: Any, allowed: bool, count: int
) -> None:
    settings.SIMULATED_MAIL = allowed
    apply(observe(cpu, Phase.PENDING))
    Incident.objects.update(simulated=True)
    notify.tell([notify.News(open_incident(web), Level.CRITICAL, fired=True)], NOW)
    assert (len(mails()), decisions(What.SKIPPED)) == (
        count,
        [] if allowed else [("", "Simulated servers are not mailed.")],
    )


def test_a_dead_letter_goes_to_the_next_of_the_rota(cpu: Series, web: Server, group: ServerGroup) -> None:
    people = [make_person(name, group) for name in ("ann", "ben", "cleo")]
    make_rota(group, *people, rotation=Rotation.DAILY, starts_on=NOW.date(), handover="00:00")
    apply(observe(cpu, Phase.CRITICAL))
    kill(Delivery.objects.get())
    assert mails() == [("ann", "fired", "critical"), ("ben", "fired", "critical")]
    kill(Delivery.objects.get(person=people[1]))
    kill(Delivery.objects.get(person=people[2]))
    assert [name for name, _, _ in mails()] == ["ann", "ben", "cleo"]
    assert decisions(What.SKIPPED) == [("", "Nobody else on the rota can be mailed.")]


def test_a_dead_letter_of_what_somebody_has_goes_to_nobody(cpu: Series, web: Server, group: ServerGroup) -> None:
    ann, ben = (make_person(name, group) for name in ("ann", "ben"))
    make_rota(group, ann, ben, rotation=Rotation.DAILY, starts_on=NOW.date(), handover="00:00")
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(5))
    kill(Delivery.objects.get())
    assert len(mails()) == 1


def test_nobody_hears_of_the_recovery_of_what_they_never_heard_of(cpu: Series, ann: User, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(cpu, Phase.FINE, at(5), 42.0))
    kill(Delivery.objects.get(person=ann, kind=DeliveryKind.FIRED))
    assert [name for name, kind, _ in mails() if kind == "recovered"] == ["ben"]
    assert ("ann", "Not told of the recovery: the mail that it broke never arrived.") in decisions(What.SKIPPED)


def test_a_dead_letter_before_the_recovery_means_no_mail_of_it(cpu: Series, ann: User, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    kill(Delivery.objects.get(person=ann))
    apply(observe(cpu, Phase.FINE, at(15), 42.0))
    assert [name for name, kind, _ in mails() if kind == "recovered"] == ["ben"]


def test_who_left_since_is_still_told_that_it_recovered(cpu: Series, ann: User, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    mark(DeliveryStatus.ACCEPTED)
    Rota.objects.all().delete()
    ann.delete()
    apply(observe(cpu, Phase.FINE, at(5), 42.0))
    rows = Delivery.objects.filter(kind=DeliveryKind.RECOVERED).order_by("pk")
    assert [(row.person, row.address) for row in rows] == [(None, "ann@example.org"), (ben, "ben@example.org")]


def test_the_recovery_goes_to_the_address_that_was_told(cpu: Series, ann: User, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    ann.emailaddress_set.update(email="new@example.org", verified=False)
    apply(observe(cpu, Phase.FINE, at(5), 42.0))
    assert Delivery.objects.get(person=ann, kind=DeliveryKind.RECOVERED).address == "ann@example.org"


def test_what_somebody_has_spares_the_others(cpu: Series, memory: Series, web: Server, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(2))
    cleo = make_person("cleo", web.group)
    Rota.objects.get().members.create(person=cleo, position=3)
    apply(observe(memory, Phase.CRITICAL, at(5)))
    assert len(mails()) == 2
    assert sorted(decisions(What.FOLDED)) == [("ann", ""), ("ben", ""), ("cleo", "Acknowledged by ben.")]


def test_what_gets_worse_is_told_although_somebody_has_it(cpu: Series, web: Server, ben: User) -> None:
    apply(observe(cpu, Phase.WARNING))
    incidents.acknowledge(open_incident(web), ben, reason="", until=None, now=at(2))
    apply(observe(cpu, Phase.CRITICAL, at(5)))
    assert mails()[2:] == [("ann", "raised", "critical"), ("ben", "raised", "critical")]
    assert open_incident(web).status == "acknowledged"


def test_who_came_on_call_meanwhile_is_told_when_more_breaks(
    cpu: Series, memory: Series, web: Server, group: ServerGroup
) -> None:
    ann, ben = (make_person(name, group) for name in ("ann", "ben"))
    make_rota(group, ann, ben, rotation=Rotation.DAILY, starts_on=NOW.date(), handover="00:00")
    apply(observe(cpu, Phase.CRITICAL))
    apply(observe(memory, Phase.CRITICAL, at(86_400)))
    assert mails() == [("ann", "fired", "critical"), ("ben", "fired", "critical")]
    assert decisions(What.FOLDED) == [("ann", "")]


def test_several_that_join_at_once_are_one_line_a_person(cpu: Series, web: Server, ben: User) -> None:
    apply(observe(cpu, Phase.CRITICAL))
    apply(*(observe(make_series(web, f"metric-{number}"), Phase.CRITICAL, at(5)) for number in range(3)))
    assert decisions(What.FOLDED) == [(name, "3 more problems of the same event.") for name in ("ann", "ben")]


def test_the_rota_is_that_of_the_group_in_which_the_server_is_now(cpu: Series, web: Server, ben: User) -> None:
    elsewhere = ServerGroup.objects.create(name="Elsewhere")
    make_rota(elsewhere, make_person("cleo", elsewhere))
    web.group = elsewhere
    web.save(update_fields=["group"])
    apply(observe(cpu, Phase.CRITICAL))
    assert mails() == [("cleo", "fired", "critical")]


def test_telling_is_the_same_few_queries_for_many(
    group: ServerGroup, ben: User, django_assert_num_queries: Any
) -> None:
    for number in range(5):
        apply(observe(make_series(make_server(f"node-{number}", group)), Phase.PENDING))
    news = [
        notify.News(one, Level.CRITICAL, fired=True)
        for one in Incident.objects.select_related("server", "acknowledged_by")
    ]
    with django_assert_num_queries(10):
        notify.tell(news, NOW)
    assert len(mails()) == 10


def test_a_name_may_be_as_long_as_an_account_allows(cpu: Series, group: ServerGroup) -> None:
    make_rota(group, make_person("ann", group, first_name="A" * 150, last_name="B" * 150))
    apply(observe(cpu, Phase.CRITICAL))
    (row,) = Delivery.objects.all()
    assert row.person_name == "A" * 150 + " " + "B" * 48 + "…"


def test_a_rota_whose_time_zone_is_unknown_by_now_still_tells_somebody(cpu: Series, group: ServerGroup) -> None:
    make_rota(group, make_person("ann", group), rotation=Rotation.DAILY, time_zone="Mars/Olympus")
    apply(observe(cpu, Phase.CRITICAL))
    assert mails() == [("ann", "fired", "critical")]
