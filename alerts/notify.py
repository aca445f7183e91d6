"""Who is told of what: one decision for each person, kept as a row of the time line, and a mail in the outbox.

Everything here runs in the transaction of the change that it tells of, with the incident's row locked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext_noop as _

from alerts.desk import RANK, Desk, person_of
from alerts.models import (
    Delivery,
    DeliveryKind,
    DeliveryStatus,
    Incident,
    IncidentStatus,
    Level,
    Problem,
    Silence,
    What,
)
from alerts.oncall import OnCall, Roster
from alerts.quiet import active, covering_all
from alerts.standing import firing_in
from alerts.timeline import name_of
from portal.toolkit.sentence import sentence

NOBODY = _("Nobody is on call for this group.")
NOBODY_ELSE = _("Nobody else on the rota can be mailed.")
SIMULATED = _("Simulated servers are not mailed.")
TOO_LOW = _("Less than the level from which the rota is mailed.")
SILENCED = _("Silenced: %(reason)s")
HELD = _("Acknowledged by %(name)s.")
SEVERAL = _("%(count)s more problems of the same event.")
NEVER_TOLD = _("Not told of the recovery: the mail that it broke never arrived.")


@dataclass
class News:
    """What happened to an incident that somebody may have to be told.

    `reached` is the worst level since the last news, `rose` whether that is worse than ever before, `joined` the
    problems that fired beside others, `concerned` all that fired meanwhile: a silence must cover each. A `reminder`
    goes also to those who know. `still` asks who should have been told by now: nothing is noted of who cannot be.
    """

    incident: Incident
    reached: Level
    fired: bool = False
    rose: bool = False
    reminder: bool = False
    still: bool = False
    joined: list[Problem] = field(default_factory=list)
    concerned: list[Problem] = field(default_factory=list)

    @property
    def breaks(self) -> bool:
        """Whether there is something to tell besides a recovery."""
        return self.fired or self.rose or self.reminder or self.still or bool(self.joined)

    @property
    def is_held(self) -> bool:
        """Somebody has it, and it is no worse than what they took on."""
        return self.incident.acknowledged_at is not None and not self.rose


def tell(news: Sequence[News], now: datetime) -> list[Delivery]:
    """Decide for each person, write the entries, queue the mails; the mails that were queued.

    About ten queries however many incidents. They are saved and locked, with `server` and `acknowledged_by` at hand.
    Repeated with the same news it queues nothing twice.
    """
    if not news:
        return []
    desk = Desk(now, [one.incident.pk for one in news])
    breaking = [one for one in news if one.breaks]
    if breaking:
        roster, silences = Roster.load(now), active(now)
        for one in breaking:
            _tell_that_it_broke(desk, one, roster, silences)
    for one in news:
        if one.incident.status == IncidentStatus.RESOLVED:
            _tell_that_it_recovered(desk, one.incident)
    return desk.close()


def pass_on(delivery: Delivery, now: datetime) -> None:
    """A mail that told of a break is dead: the next of the rota gets it.

    Call it in the transaction that marked it dead; it locks the incident. Nobody is told that something recovered that
    they never heard of: a recovery that waits behind the dead mail is taken back.
    """
    if delivery.kind == DeliveryKind.RECOVERED:
        return
    with transaction.atomic():
        locked = Incident.objects.select_for_update(of=("self",)).select_related("server")
        incident = locked.get(pk=delivery.incident_id)
        desk = Desk(now, [incident.pk])
        _take_back_recovery(desk, incident, delivery)
        if incident.status == IncidentStatus.FIRING:
            _tell_next(desk, incident, Level(delivery.level))
        desk.close()


def group_of(incident: Incident) -> int | None:
    """The group whose rota serves it: its server's as it is now, else as it last was."""
    return incident.server.group_id if incident.server else incident.group_id


def _tell_that_it_broke(desk: Desk, news: News, roster: Roster, silences: Sequence[Silence]) -> None:
    incident = news.incident
    people = roster.on_call(group_of(incident))
    reason = _why_nobody(news, roster, people)
    if reason:
        if not news.still:
            desk.say(incident, What.SKIPPED, level=news.reached, text=reason)
        return
    silence = covering_all(incident.server, news.concerned, silences)
    knowing, tried = desk.told(incident), desk.tried(incident)
    if not knowing and not any(one.address and str(one.person.pk) not in tried for one in people):
        people = [*people, *_next(roster.line(group_of(incident)), tried)]
    for one in people:
        person = str(one.person.pk)
        kind = _kind_for(news, tried.get(person))
        if kind is not None:
            knowing.pop(person, None)
            _decide(desk, news, kind, one, silence)
        elif news.joined and person not in knowing:
            held_by = incident.acknowledged_by
            _fold(desk, news, one, sentence(HELD, name=name_of(held_by)) if news.is_held and held_by else "")
    if news.joined:
        for row in knowing.values():
            desk.say_of(row, What.FOLDED, problem=news.joined[0], level=news.joined[0].level, text=_how_many(news))


def _why_nobody(news: News, roster: Roster, people: Sequence[OnCall]) -> str:
    """A stored sentence when no person needs to be looked at."""
    if news.incident.simulated and not settings.SIMULATED_MAIL:
        return SIMULATED
    rota = roster.rota(group_of(news.incident))
    if rota is None or not people:
        return NOBODY
    return TOO_LOW if RANK[news.reached] > RANK[Level(rota.least_level)] else ""


def _kind_for(news: News, tried: int | None) -> DeliveryKind | None:
    """What somebody on call is to be mailed, None when nothing; `tried` is the rank of the worst that they were."""
    if news.is_held:
        return None
    if tried is None:
        return DeliveryKind.FIRED
    if tried > RANK[news.reached]:
        return DeliveryKind.RAISED
    return DeliveryKind.REMINDER if news.reminder else None


def _decide(desk: Desk, news: News, kind: DeliveryKind, one: OnCall, silence: Silence | None) -> None:
    if one.address and silence is None:
        desk.queue(news.incident, kind, news.reached, one)
    elif not news.still:
        what, text = What.SKIPPED, one.trouble
        if one.address and silence is not None:
            what, text = What.WITHHELD, sentence(SILENCED, reason=silence.reason)
        desk.say(news.incident, what, about=one.person, level=news.reached, text=text)


def _fold(desk: Desk, news: News, one: OnCall, text: str) -> None:
    first = news.joined[0]
    desk.say(
        news.incident,
        What.FOLDED,
        about=one.person,
        problem=first,
        level=first.level,
        text=text or _how_many(news),
    )


def _how_many(news: News) -> str:
    return sentence(SEVERAL, count=str(len(news.joined))) if len(news.joined) > 1 else ""


def _tell_that_it_recovered(desk: Desk, incident: Incident) -> None:
    """To everyone who was, or will be, told that it broke."""
    known = {person_of(row) for row in desk.sent(incident) if row.kind == DeliveryKind.RECOVERED}
    for person, told in desk.told(incident).items():
        if person not in known:
            desk.queue_recovery(incident, told)


def _take_back_recovery(desk: Desk, incident: Incident, dead: Delivery) -> None:
    if person_of(dead) in desk.told(incident):
        return
    for row in desk.sent(incident):
        waits = row.kind == DeliveryKind.RECOVERED and row.status == DeliveryStatus.QUEUED
        if waits and person_of(row) == person_of(dead):
            Delivery.objects.filter(pk=row.pk).delete()
            desk.say_of(dead, What.SKIPPED, text=NEVER_TOLD)


def _tell_next(desk: Desk, incident: Incident, level: Level) -> None:
    news = News(incident, level)
    silence = covering_all(incident.server, firing_in([incident])[incident.pk], active(desk.now))
    following = _next(Roster.load(desk.now).line(group_of(incident)), desk.tried(incident))
    for one in following:
        _decide(desk, news, DeliveryKind.FIRED, one, silence)
    if not following:
        desk.say(incident, What.SKIPPED, level=level, text=NOBODY_ELSE)


def _next(line: Sequence[OnCall], tried: Collection[str]) -> list[OnCall]:
    """The first of the rota who can be mailed and was not yet; empty when there is none."""
    return [one for one in line if one.address and str(one.person.pk) not in tried][:1]
