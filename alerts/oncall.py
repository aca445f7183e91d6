"""Who is on call: turns of a rota, stand-ins, and whether the person can be mailed at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser
from django.db.models import Prefetch, prefetch_related_objects
from django.utils.translation import gettext_noop as _

from alerts.models import Bounce, Rota, RotaMember, Rotation, StandIn
from alerts.timeline import name_of
from monitoring.models import Membership
from portal.toolkit.instants import zone_named
from portal.toolkit.sentence import sentence

User = get_user_model()

SWITCHED_OFF = _("Their account is switched off.")
NO_ADDRESS = _("They have no e-mail address.")
UNVERIFIED = _("Their e-mail address %(address)s is not verified.")
NO_MEMBER = _("They may not see the servers of this group.")
BOUNCING = _("%(address)s refused the last mail: %(answer)s")


@dataclass(frozen=True, slots=True)
class OnCall:
    """Someone whose turn it is. `address` is "" when they cannot be mailed.

    `trouble` is a stored sentence: why they cannot, or, with an address, why the mail may not arrive.
    """

    person: AbstractUser
    name: str
    address: str
    language: str
    time_zone: str
    trouble: str


def on_call(group_id: int | None, now: datetime) -> list[OnCall]:
    """Who is told of something that breaks in the group now, those who cannot be mailed included; a few queries."""
    return Roster.load(now).on_call(group_id)


def turn_at(rota: Rota, at: datetime) -> list[AbstractUser]:
    """Whose turn it is at `at`: stand-ins before members; whoever is switched off is passed over.

    One query for the members and one for the stand-ins, none when they are prefetched.
    """
    here = [person for person in _stand_ins(rota, at) if person.is_active]
    line = [person for person in _line(rota, at) if person.is_active]
    if rota.rotation == Rotation.EVERYONE:
        return _once([*line, *here])
    return here or line[:1]


def handovers(rota: Rota, start: datetime, days: int) -> list[tuple[datetime, AbstractUser]]:
    """Who has it from `start` on and from each instant within `days` at which that changes, in order of time.

    Of an instant at which several people have it there is one pair for each. Four queries.
    """
    prefetch_related_objects([rota], "members__person", "stand_ins__person")
    found: list[tuple[datetime, AbstractUser]] = []
    before: list[AbstractUser] = []
    for at in _changes(rota, start, start + timedelta(days=days)):
        people = turn_at(rota, at)
        if people != before:
            found += [(at, person) for person in people]
        before = people
    return found


class Roster:
    """Everybody's turns at one instant, read at once: asking it costs no query."""

    def __init__(
        self,
        now: datetime,
        rotas: Iterable[Rota],
        addresses: Iterable[EmailAddress],
        bounces: Iterable[Bounce],
        memberships: Iterable[tuple[int, int]],
    ) -> None:
        self._now = now
        self._rotas = {rota.group_id: rota for rota in rotas}
        self._bounces = {bounce.address.lower(): bounce for bounce in bounces}
        self._memberships = set(memberships)
        self._addresses: dict[int, list[EmailAddress]] = {}
        for address in addresses:
            self._addresses.setdefault(address.user_id, []).append(address)

    @classmethod
    def load(cls, now: datetime) -> Roster:
        """Six queries, however many groups and people."""
        current = StandIn.objects.filter(starts_at__lte=now, ends_at__gt=now).select_related("person")
        rotas = list(
            Rota.objects.order_by("pk").prefetch_related(
                Prefetch("members", RotaMember.objects.select_related("person")), Prefetch("stand_ins", current)
            )
        )
        people = {one.person_id for rota in rotas for one in rota.members.all()}
        people |= {one.person_id for rota in rotas for one in rota.stand_ins.all()}
        return cls(
            now,
            rotas,
            EmailAddress.objects.filter(user_id__in=people).order_by("-verified", "-primary", "pk"),
            Bounce.objects.all(),
            Membership.objects.filter(user_id__in=people).values_list("user_id", "group_id"),
        )

    def rota(self, group_id: int | None) -> Rota | None:
        """The rota that serves the group."""
        return self._rotas.get(group_id) or self._rotas.get(None)

    def on_call(self, group_id: int | None) -> list[OnCall]:
        """Those whose turn it is; whoever cannot be mailed is followed by the next member, until one can be."""
        rota = self.rota(group_id)
        if rota is None:
            return []
        line = self.line(group_id)
        if rota.rotation == Rotation.EVERYONE:
            return line
        stand_ins = {person.pk for person in _stand_ins(rota, self._now)}
        reached = [one for one in line if one.person.pk in stand_ins]
        if any(one.address for one in reached):
            return reached
        for one in line[len(reached) :]:
            reached.append(one)
            if one.address:
                break
        return reached

    def line(self, group_id: int | None) -> list[OnCall]:
        """Everyone of the group's rota in the order in which they are asked: stand-ins, the turn, then the next."""
        rota = self.rota(group_id)
        if rota is None:
            return []
        people = _once([*_stand_ins(rota, self._now), *_line(rota, self._now)])
        return [self._of(person, rota, group_id) for person in people]

    def _of(self, person: AbstractUser, rota: Rota, group_id: int | None) -> OnCall:
        address, trouble = self._reach(person, group_id)
        return OnCall(
            person=person,
            name=name_of(person),
            address=address,
            language=getattr(person, "language", "") or settings.LANGUAGE_CODE,
            time_zone=getattr(person, "time_zone", "") or rota.time_zone,
            trouble=trouble,
        )

    def _reach(self, person: AbstractUser, group_id: int | None) -> tuple[str, str]:
        """(address or "", trouble or "")."""
        if not person.is_active:
            return "", SWITCHED_OFF
        if group_id is not None and not person.is_superuser and (person.pk, group_id) not in self._memberships:
            return "", NO_MEMBER
        best = next(iter(self._addresses.get(person.pk, [])), None)
        if best is None:
            return "", sentence(UNVERIFIED, address=person.email) if person.email else NO_ADDRESS
        if not best.verified:
            return "", sentence(UNVERIFIED, address=best.email)
        bounce = self._bounces.get(best.email.lower())
        return best.email, sentence(BOUNCING, address=best.email, answer=bounce.answer) if bounce else ""


def _stand_ins(rota: Rota, at: datetime) -> list[AbstractUser]:
    return [one.person for one in rota.stand_ins.all() if one.starts_at <= at < one.ends_at]


def _line(rota: Rota, at: datetime) -> list[AbstractUser]:
    """All members, the one whose turn it is first."""
    people: list[AbstractUser] = [member.person for member in rota.members.all()]
    if rota.rotation == Rotation.EVERYONE or not people:
        return people
    turn = _turns_passed(rota, at) % len(people)
    return people[turn:] + people[:turn]


def _turns_passed(rota: Rota, at: datetime) -> int:
    """How many turns began between the first member's and the one of `at`; negative before it."""
    if rota.rotation == Rotation.DAILY:
        return (_duty_day(rota, at) - rota.starts_on).days
    return (_week(rota, _duty_day(rota, at)) - _week(rota, rota.starts_on)).days // 7


def _duty_day(rota: Rota, at: datetime) -> date:
    """The day whose handover was the last one. Compared as instants: a clock that is changed shifts nobody's turn."""
    day = at.astimezone(zone_named(rota.time_zone)).date()
    return day if _handover(rota, day) <= at else day - timedelta(days=1)


def _handover(rota: Rota, day: date) -> datetime:
    return datetime.combine(day, rota.handover, tzinfo=zone_named(rota.time_zone))


def _week(rota: Rota, day: date) -> date:
    """The handover day on or before `day`."""
    return day - timedelta(days=(day.weekday() - rota.handover_day) % 7)


def _changes(rota: Rota, start: datetime, end: datetime) -> list[datetime]:
    """`start` and the instants before `end` at which somebody else may have it."""
    instants = {start}
    instants |= {at for one in rota.stand_ins.all() for at in (one.starts_at, one.ends_at)}
    if rota.rotation != Rotation.EVERYONE:
        instants |= set(_handovers_between(rota, start, end))
    return sorted(at for at in instants if start <= at < end)


def _handovers_between(rota: Rota, start: datetime, end: datetime) -> Iterator[datetime]:
    day = _duty_day(rota, start)
    while (at := _handover(rota, day)) < end:
        if rota.rotation == Rotation.DAILY or day.weekday() == rota.handover_day:
            yield at
        day += timedelta(days=1)


def _once(people: Sequence[AbstractUser]) -> list[AbstractUser]:
    return list({person.pk: person for person in people}.values())
