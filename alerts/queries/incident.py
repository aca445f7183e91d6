"""What the page of one incident shows: head, problems, time line, deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, OuterRef, Prefetch, Subquery
from django.db.models.functions import Coalesce
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from alerts.around import logs_path
from alerts.models import (
    DECISIONS,
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
    Threshold,
    What,
)
from alerts.queries.words import DELIVERY_ICONS, LEVEL_ICONS, STATUS_ICONS, WHAT_ICONS, subject
from alerts.quiet import active, covering_all
from alerts.timeline import name_of
from portal.toolkit.instants import at_ms
from portal.toolkit.quantity import duration, quantity
from portal.toolkit.sentence import say
from portal.toolkit.templatetags.icons import icon

MOST_PROBLEMS = 100
MOST_ENTRIES = 400
MOST_DELIVERIES = 200
FOLDS_WITHIN = timedelta(minutes=1)
RANGES = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
}
"""What the server's page can show."""


@dataclass(frozen=True, slots=True)
class ProblemLine:
    """One problem in the table. `rule` says which threshold won; `because` why it ended when the value did not."""

    pk: int
    subject: str
    level: str
    level_word: str
    level_icon: SafeString
    status: str
    status_word: str
    value: str
    limit: str
    peak: str
    began_at: datetime
    resolved_at: datetime | None
    lasted: str
    rule: str
    because: str


@dataclass(slots=True)
class About:
    """A person whom a decision concerns, and what was said of it."""

    name: str
    text: str


@dataclass(slots=True)
class TimeLine:
    """One line of the time line. Decisions of one kind taken together are one line with several people in `about`."""

    what: str
    word: str
    icon: SafeString
    at: datetime
    level: str
    level_word: str
    by: str
    subject: str
    text: str
    is_decision: bool
    about: list[About] = field(default_factory=list)

    @property
    def names(self) -> str:
        return ", ".join(dict.fromkeys(one.name for one in self.about if one.name))


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    kind: str
    level_word: str
    person: str
    status: str
    status_word: str
    status_icon: SafeString
    answer: str
    attempts: int
    created_at: datetime
    next_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class IncidentState:
    """All that the page of an incident says of it. `at_ms` is the epoch ms of its newest entry."""

    pk: int
    at_ms: int
    level: str
    level_word: str
    level_icon: SafeString
    peak_word: str
    status: str
    status_word: str
    status_icon: SafeString
    server: str
    server_id: int | None
    server_url: str
    logs_url: str
    group: str
    simulated: bool
    began_at: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    lasted: str
    owner: str
    owned_at: datetime | None
    owned_until: datetime | None
    owned_because: str
    silence: Silence | None
    problems: list[ProblemLine]
    more_problems: int
    lines: list[TimeLine]
    has_older: bool
    deliveries: list[DeliveryLine]


def incident_states(incident_ids: Iterable[int], now: datetime) -> dict[int, IncidentState]:
    """The incidents that still exist, in no order. Five queries, however many: the newest of each list are read."""
    silences = active(now)
    return {incident.pk: _state(incident, silences, now) for incident in _with_all(incident_ids)}


def _with_all(incident_ids: Iterable[int]) -> list[Incident]:
    problems = Problem.objects.select_related("threshold__group", "threshold__server")
    problems = problems.order_by("-resolved_at", "level_rank", "began_at", "pk")
    mails = Delivery.objects.order_by("-created_at", "-pk")
    entries = Entry.objects.select_related("problem").order_by("-at", "-pk")
    count = Problem.objects.filter(incident=OuterRef("pk")).order_by().values("incident").values(n=Count("pk"))
    return list(
        Incident.objects.filter(pk__in=list(incident_ids))
        .order_by()
        .select_related("server__group", "group", "acknowledged_by")
        .annotate(problem_count=Coalesce(Subquery(count), 0))
        .prefetch_related(
            Prefetch(
                "problems", problems.order_by("-resolved_at", "level_rank", "pk")[:MOST_PROBLEMS], "first_problems"
            ),
            Prefetch("entries", entries[: MOST_ENTRIES + 1], "newest_entries"),
            Prefetch("deliveries", mails[:MOST_DELIVERIES], "newest_mails"),
        )
    )


def _state(incident: Incident, silences: Sequence[Silence], now: datetime) -> IncidentState:
    problems: list[Problem] = sorted(incident.first_problems, key=_worst_first)  # type: ignore[attr-defined]
    entries: list[Entry] = incident.newest_entries  # type: ignore[attr-defined]
    server, owner, ended = incident.server, incident.acknowledged_by, incident.resolved_at
    group = server.group if server else incident.group
    held = incident.status == IncidentStatus.ACKNOWLEDGED
    return IncidentState(
        pk=incident.pk,
        at_ms=at_ms(entries[0].at if entries else incident.began_at) or 0,
        level=incident.level,
        level_word=str(Level(incident.level).label),
        level_icon=icon(LEVEL_ICONS[incident.level], 20),
        peak_word="" if incident.peak_level == incident.level else str(Level(incident.peak_level).label),
        status=incident.status,
        status_word=str(IncidentStatus(incident.status).label),
        status_icon=icon(STATUS_ICONS[incident.status], 18),
        server=server.name if server else incident.server_name,
        server_id=server.pk if server else None,
        server_url=f"{server.get_absolute_url()}?range={_range(incident, now)}" if server else "",
        logs_url=logs_path(incident, incident.resolved_at),
        group=group.name if group else "",
        simulated=incident.simulated,
        began_at=incident.began_at,
        fired_at=incident.fired_at,
        resolved_at=ended,
        lasted=duration((ended - incident.began_at).total_seconds()) if ended else "",
        owner=name_of(owner) if owner else "",
        owned_at=incident.acknowledged_at if owner else None,
        owned_until=incident.acknowledged_until if held else None,
        owned_because=incident.acknowledged_reason,
        silence=covering_all(server, [one for one in problems if one.status == ProblemStatus.FIRING], silences),
        problems=[_problem_line(problem) for problem in problems],
        more_problems=incident.problem_count - len(problems),  # type: ignore[attr-defined]
        lines=time_lines(entries[:MOST_ENTRIES]),
        has_older=len(entries) > MOST_ENTRIES,
        deliveries=[_delivery_line(mail) for mail in incident.newest_mails],  # type: ignore[attr-defined]
    )


def _range(incident: Incident, now: datetime) -> str:
    """The shortest range of the server's page that still shows how it began, with a little before."""
    age = (now - incident.began_at) * 1.2
    return next((word for word, span in RANGES.items() if age <= span), "24h")


# --- Problems ---------------------------------------------------------------------------------------------------------

STANDING = {ProblemStatus.FIRING.value: 0, ProblemStatus.PENDING.value: 1, ProblemStatus.RESOLVED.value: 2}


def _worst_first(problem: Problem) -> tuple[int, int, datetime, int]:
    return STANDING[problem.status], problem.level_rank, problem.began_at, problem.pk


def _problem_line(problem: Problem) -> ProblemLine:
    ended = problem.resolved_at
    last = problem.last_value if problem.value is None else problem.value
    return ProblemLine(
        pk=problem.pk,
        subject=subject(problem),
        level=problem.level,
        level_word=str(Level(problem.level).label),
        level_icon=icon(LEVEL_ICONS[problem.level]),
        status=problem.status,
        status_word=str(ProblemStatus(problem.status).label),
        value=_("no data") if problem.condition == Condition.NO_DATA else quantity(last, problem.unit),
        limit=_limit(problem),
        peak=quantity(problem.peak, problem.unit),
        began_at=problem.began_at,
        resolved_at=ended,
        lasted=duration((ended - problem.began_at).total_seconds()) if ended else "",
        rule=_rule(problem.threshold, problem),
        because=say(problem.ended_because),
    )


def _limit(problem: Problem) -> str:
    limit = {"limit": quantity(problem.limit, problem.unit)}
    if problem.condition == Condition.NO_DATA:
        return ""
    return _("below %(limit)s") % limit if problem.condition == Condition.BELOW else _("above %(limit)s") % limit


def _rule(threshold: Threshold | None, problem: Problem) -> str:
    """The threshold that won, as it is now: whom it is for, its limits, how long."""
    if threshold is None:
        return _("a threshold that was deleted")
    parts = [threshold.target]
    for word, limit in ((Level.WARNING.label, threshold.warning), (Level.CRITICAL.label, threshold.critical)):
        if limit is not None:
            parts.append(f"{word} {quantity(limit, problem.unit)}")
    if threshold.for_s:
        parts.append(_("for %(time)s") % {"time": duration(threshold.for_s)})
    if problem.condition == Condition.NO_DATA and threshold.no_data_after_s:
        parts.append(_("no data after %(time)s") % {"time": duration(threshold.no_data_after_s)})
    return " · ".join(parts)


# --- Time line and deliveries -----------------------------------------------------------------------------------------


def time_lines(newest_first: Sequence[Entry]) -> list[TimeLine]:
    """The lines, the newest first. What was decided in one go for several people is folded into one line."""
    lines: list[TimeLine] = []
    for entry in reversed(newest_first):
        line = _line(entry)
        last = lines[-1] if lines else None
        if last and line.is_decision and last.what == line.what and line.at - last.at <= FOLDS_WITHIN:
            last.about += line.about
        else:
            lines.append(line)
    lines.reverse()
    return lines


def _line(entry: Entry) -> TimeLine:
    is_decision = entry.what in DECISIONS
    text = entry.text if entry.what == What.COMMENTED else say(entry.text)
    return TimeLine(
        what=entry.what,
        word=str(What(entry.what).label),
        icon=icon(WHAT_ICONS[entry.what]),
        at=entry.at,
        level=entry.level,
        level_word=str(Level(entry.level).label) if entry.level else "",
        by=entry.by_name,
        subject=subject(entry.problem) if entry.problem else "",
        text="" if is_decision else text,
        is_decision=is_decision,
        about=[About(entry.about_name, text)] if is_decision else [],
    )


def _delivery_line(delivery: Delivery) -> DeliveryLine:
    queued = delivery.status == DeliveryStatus.QUEUED
    return DeliveryLine(
        kind=str(DeliveryKind(delivery.kind).label),
        level_word=str(Level(delivery.level).label),
        person=delivery.person_name,
        status=delivery.status,
        status_word=str(DeliveryStatus(delivery.status).label),
        status_icon=icon(DELIVERY_ICONS[delivery.status]),
        answer=delivery.answer,
        attempts=delivery.attempts,
        created_at=delivery.created_at,
        next_at=delivery.next_attempt_at if queued else None,
        ended_at=delivery.ended_at,
    )
