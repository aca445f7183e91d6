"""What every page says of alerts: the bell, the strip "nobody has this", and the newest announcements for toasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext as _

from alerts.access import incidents_for
from alerts.models import (
    Condition,
    Delivery,
    DeliveryKind,
    DeliveryStatus,
    Entry,
    Incident,
    IncidentStatus,
    Level,
    Problem,
    ProblemStatus,
    Silence,
    What,
)
from alerts.notify import SIMULATED, TOO_LOW
from alerts.queries.words import subject, what_is_wrong
from monitoring.access import EVERYTHING, Person, operated_groups
from monitoring.models import Server
from portal.toolkit.instants import at_ms
from portal.toolkit.quantity import duration, quantity
from portal.toolkit.sentence import say

ANNOUNCED = (What.FIRED, What.RAISED, What.RESOLVED)
ANNOUNCED_FOR = timedelta(minutes=5)
"""How long an announcement stays in the fragment, counted from its sample: that may have come late."""
MOST_ANNOUNCED = 20
LOOKED_THROUGH = 300
"""So many of all announcements are looked at, newest first: looking for one's own costs the same for everyone."""
TOAST_KINDS = {Level.CRITICAL: "error", Level.WARNING: "warning", Level.INFO: "info"}


@dataclass(frozen=True, slots=True)
class Announcement:
    """One thing that happened, in words for a toast; `group` is the one whose operators may acknowledge it."""

    entry: int
    incident: int
    group: int | None
    kind: str
    firing: bool
    at_ms: int
    text: str


@dataclass(frozen=True, slots=True)
class Nobody:
    """The worst of what fires and nobody has; `others` more do. `unheard`: of one of them nobody could be told."""

    incident: int
    server: str
    simulated: bool
    reading: str
    level_word: str
    since: datetime
    others: int
    unheard: bool


@dataclass(frozen=True, slots=True)
class Board:
    """So many incidents fire, `worst` of them at the worst `level` ("": none does); `stamp` in epoch ms, 0: no news."""

    firing: int
    worst: int
    acknowledged: int
    level: str
    level_word: str
    nobody: Nobody | None
    announcements: list[Announcement]
    stamp: int

    @property
    def milder(self) -> int:
        """How many fire at a lesser level than the worst."""
        return self.firing - self.worst

    @property
    def is_cut(self) -> bool:
        """Whether more may have happened than is announced."""
        return len(self.announcements) == MOST_ANNOUNCED


def board(incidents: QuerySet[Incident], now: datetime) -> Board:
    """What is announced of `incidents`: those that somebody may see. Two queries while all is calm, else up to four."""
    counts = _counts(incidents, now)
    worst = _bare(incidents, now).first() if any(one.bare for one in counts) else None
    level = next((level for level in Level for one in counts if one.level == level and one.firing), None)
    announcements = [_announcement(entry) for entry in _newest_entries(incidents, now)]
    return Board(
        firing=sum(one.incidents for one in counts if one.firing),
        worst=sum(one.incidents for one in counts if one.firing and one.level == level),
        acknowledged=sum(one.incidents for one in counts if not one.firing),
        level=level.value if level else "",
        level_word=str(level.label) if level else "",
        nobody=_nobody(worst, counts) if worst else None,
        announcements=announcements,
        stamp=max((one.at_ms for one in announcements), default=0),
    )


def board_for(user: Person, now: datetime) -> Board:
    """One person's board: what the topic `alerts` pushes to them."""
    return board(incidents_for(user), now)


def operates(user: Person) -> str:
    """The groups in which `user` may acknowledge, such as "1,4"; "*" for all. At most one query."""
    if user.is_active and user.is_superuser:
        return EVERYTHING
    return ",".join(map(str, operated_groups(user)))


# --- What fires -------------------------------------------------------------------------------------------------------


class _Count(NamedTuple):
    """So many incidents fire, or are acknowledged. `bare`: nobody has them; `unheard`: and nobody was told."""

    firing: bool
    level: str
    bare: bool
    unheard: bool
    incidents: int


def _counts(incidents: QuerySet[Incident], now: datetime) -> list[_Count]:
    rows = (
        incidents.filter(resolved_at=None, status__in=(IncidentStatus.FIRING, IncidentStatus.ACKNOWLEDGED))
        .order_by()
        .annotate(bare=_is_bare(now), unheard=_is_unheard())
        .values_list("status", "level", "bare", "unheard")
        .annotate(count=Count("pk"))
    )
    return [
        _Count(status == IncidentStatus.FIRING, level, bare and status == IncidentStatus.FIRING, unheard, count)
        for status, level, bare, unheard, count in rows
    ]


def _bare(incidents: QuerySet[Incident], now: datetime) -> QuerySet[Incident]:
    """Those that fire and nobody has, worst and longest first."""
    firing = incidents.filter(_is_bare(now), resolved_at=None, status=IncidentStatus.FIRING)
    return firing.order_by("level_rank", "fired_at", "pk")


def _is_bare(now: datetime) -> Exists:
    """A problem fires that no silence covers."""
    server = Server.objects.filter(pk=OuterRef(OuterRef("server")))
    silenced = Silence.objects.filter(
        Q(scope="all")
        | Q(scope="kind", kind__in=server.values("kind"))
        | Q(scope="group", group__in=server.values("group"))
        | Q(scope="server", server=OuterRef("server")),
        Q(metric=None) | Q(metric__name=OuterRef("metric")),
        starts_at__lte=now,
        ends_at__gt=now,
    )
    return Exists(Problem.objects.filter(~Exists(silenced), incident=OuterRef("pk"), status=ProblemStatus.FIRING))


def _is_unheard() -> Q:
    """No mail about it is on its way or was accepted, and not because it needs none."""
    living = Delivery.objects.filter(
        incident=OuterRef("pk"), status__in=(DeliveryStatus.QUEUED, DeliveryStatus.ACCEPTED)
    ).exclude(kind=DeliveryKind.RECOVERED)
    failed = Entry.objects.filter(incident=OuterRef("pk"), what__in=(What.SKIPPED, What.BOUNCED))
    return Q(Exists(failed.exclude(text__in=(SIMULATED, TOO_LOW)))) & Q(~Exists(living))


def _nobody(worst: Incident, counts: Sequence[_Count]) -> Nobody:
    firing = worst.problems.filter(status=ProblemStatus.FIRING)
    problem = firing.order_by("level_rank", "began_at", "pk").first()
    return Nobody(
        incident=worst.pk,
        server=worst.server_name,
        simulated=worst.simulated,
        reading=_reading(problem) if problem else "",
        level_word=str(Level(worst.level).label),
        since=worst.fired_at or worst.began_at,
        others=sum(one.incidents for one in counts if one.bare) - 1,
        unheard=any(one.bare and one.unheard for one in counts),
    )


def _reading(problem: Problem) -> str:
    """ "CPU 97.2%": what it was when it fired, so that it does not change with every sample."""
    if problem.condition == Condition.NO_DATA:
        return what_is_wrong(problem)
    return f"{subject(problem)} {quantity(problem.value, problem.unit)}"


# --- What has just happened -------------------------------------------------------------------------------------------


def _newest_entries(incidents: QuerySet[Incident], now: datetime) -> list[Entry]:
    """The newest announced entry of each incident that has a new one, the newest last."""
    newest = Entry.objects.filter(what__in=ANNOUNCED).order_by("-pk").values("pk")[:LOOKED_THROUGH]
    seen = Entry.objects.filter(pk__in=newest, at__gte=now - ANNOUNCED_FOR, incident__in=incidents.order_by())
    last: dict[int, Entry] = {}
    for entry in seen.select_related("incident__server").order_by("-pk"):
        last.setdefault(entry.incident_id, entry)
    return list(last.values())[:MOST_ANNOUNCED][::-1]


def _announcement(entry: Entry) -> Announcement:
    incident = entry.incident
    is_over = entry.what == What.RESOLVED
    return Announcement(
        entry=entry.pk,
        incident=incident.pk,
        group=incident.server.group_id if incident.server else incident.group_id,
        kind="success" if is_over else TOAST_KINDS[Level(entry.level)],
        firing=incident.status == IncidentStatus.FIRING,
        at_ms=at_ms(entry.at) or 0,
        text=_recovered(entry) if is_over else _broken(entry),
    )


def _broken(entry: Entry) -> str:
    parts = {"level": Level(entry.level).label, "server": _server(entry.incident), "what": say(entry.text)}
    if entry.what == What.RAISED:
        return _("Worse, now %(level)s: %(server)s, %(what)s") % parts
    return _("%(level)s: %(server)s, %(what)s") % parts


def _recovered(entry: Entry) -> str:
    incident = entry.incident
    lasted = (incident.resolved_at or entry.at) - (incident.fired_at or incident.began_at)
    parts = {"server": _server(incident), "time": duration(lasted.total_seconds()), "why": say(entry.text)}
    if entry.text:
        return _("Over after %(time)s: %(server)s, %(why)s") % parts
    return _("Recovered after %(time)s: %(server)s") % parts


def _server(incident: Incident) -> str:
    return f"{incident.server_name} ({_('simulated')})" if incident.simulated else incident.server_name
