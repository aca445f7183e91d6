"""What the list of incidents shows: counts, and one page, open ones worst first, then the newest."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b

from django.contrib.postgres.aggregates import BitXor
from django.db.models import BigIntegerField, Case, Count, Func, Max, Q, QuerySet, TextField, Value, When
from django.db.models.functions import Cast, Coalesce, Concat
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from alerts.access import incidents_of
from alerts.incident_filter import IncidentFilter, Place
from alerts.models import (
    Delivery,
    DeliveryStatus,
    Entry,
    Incident,
    IncidentStatus,
    Level,
    Problem,
    ProblemStatus,
    Silence,
)
from alerts.queries.words import LEVEL_ICONS, STATUS_ICONS, what_is_wrong
from alerts.quiet import active, covering_all
from alerts.timeline import name_of
from monitoring.queries.samples import metric_label
from portal.toolkit.instants import at_ms
from portal.toolkit.quantity import duration
from portal.toolkit.templatetags.icons import icon

ROWS_PER_PAGE = 50
SHOWN = ("pk", "status", "level", "acknowledged_by_id", "acknowledged_until", "server__name", "server__group_id")
WORST_FIRST = [ProblemStatus.FIRING, ProblemStatus.PENDING, ProblemStatus.RESOLVED]
TOLD = [DeliveryStatus.ACCEPTED, DeliveryStatus.QUEUED, DeliveryStatus.DEAD]
MOST_COUNTED = 1000
"""Resolved incidents are counted up to here: there may be years of them."""


@dataclass(frozen=True, slots=True)
class Told:
    """How many people the mails of an incident reached, wait for, and did not reach."""

    accepted: int = 0
    waiting: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class IncidentRow:
    """One incident in the list; text is in the language that was active when it was made.

    `what` is the worst problem, `more` how many others there are. `metrics` is JSON, [[name, label], …], of what a
    silence may be about. `lasted` is "" while it is open.
    """

    pk: int
    url: str
    level: str
    level_word: str
    level_icon: SafeString
    status: str
    status_word: str
    status_icon: SafeString
    server: str
    server_url: str
    group: str
    simulated: bool
    what: str
    more: int
    began_at: datetime
    resolved_at: datetime | None
    lasted: str
    owner: str
    owned_until: datetime | None
    told: Told
    silence: Silence | None
    metrics: str
    may_operate: bool

    @property
    def is_untold(self) -> bool:
        """It fired, and no mail was made for anybody."""
        return self.status != IncidentStatus.PENDING and self.told == Told() and self.silence is None


@dataclass(frozen=True, slots=True)
class StatusCount:
    status: str
    word: str
    icon: SafeString
    count: int
    is_more: bool
    url: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Cursor:
    """A `digest` that differs means another list; `at_ms` is the epoch ms of the newest entry of what is open."""

    digest: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """One page of the list; `following` is "" on the last one, `open` counts the open incidents of all pages."""

    rows: list[IncidentRow]
    wanted: IncidentFilter
    counts: list[StatusCount]
    open: int
    cursor: Cursor
    following: str
    made_at: datetime

    @property
    def start(self) -> str:
        """The address of the first page of the same."""
        return self.wanted.address()

    @property
    def cleared(self) -> str:
        """The address of all of this status."""
        return IncidentFilter(self.wanted.status).address()


@dataclass(slots=True)
class _Facts:
    """What the rows of a page say beyond their incident, by its id. `problems` has one a metric, the worst first."""

    problems: dict[int, list[Problem]] = field(default_factory=lambda: defaultdict(list))
    count: dict[int, int] = field(default_factory=dict)
    told: dict[int, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    silences: Sequence[Silence] = ()


def incident_page(
    audience: str, wanted: IncidentFilter, person_id: int | None, operated: Collection[int], now: datetime
) -> IncidentPage:
    """The asked page. At most thirteen queries; none reads more than its page, the open incidents and an index.

    `operated` are the ids of the groups whose incidents `person_id` may handle.
    """
    matching = wanted.apply(incidents_of(audience), person_id)
    found = _in_order(matching.select_related("server__group", "group", "acknowledged_by"), wanted)
    shown = found[:ROWS_PER_PAGE]
    facts = _facts(shown, now)
    by_status = status_counts(audience)
    return IncidentPage(
        rows=[_row(incident, facts, operated) for incident in shown],
        wanted=wanted,
        counts=_status_counts(by_status, wanted),
        open=sum(count for status, count in by_status.items() if status != IncidentStatus.RESOLVED),
        cursor=list_cursor(audience, now),
        following=wanted.address(after=Place.of(shown[-1])) if len(found) > ROWS_PER_PAGE else "",
        made_at=now,
    )


def incident_rows(incidents: Sequence[Incident], operated: Collection[int], now: datetime) -> list[IncidentRow]:
    """The rows of incidents that were read with server, group and owner. Four queries."""
    facts = _facts(incidents, now)
    return [_row(incident, facts, operated) for incident in incidents]


def _in_order(matching: QuerySet[Incident], wanted: IncidentFilter) -> list[Incident]:
    """The incidents of one page and one more. The open ones are few and sorted, the others come by their index."""
    after, limit = wanted.after, ROWS_PER_PAGE + 1
    found: list[Incident] = []
    if wanted.shows_open and (after is None or after.rank is not None):
        still = matching.filter(resolved_at=None)
        if after is not None:
            further = Q(level_rank__gt=after.rank) | Q(level_rank=after.rank) & _older_than(after)
            still = still.filter(further)
        found += still.order_by("level_rank", "-began_at", "-pk")[:limit]
    if wanted.shows_resolved and len(found) < limit:
        over = matching.filter(resolved_at__isnull=False)
        if after is not None and after.rank is None:
            over = over.filter(began_at__lte=after.began_at).filter(_older_than(after))
        found += over.order_by("-began_at", "-pk")[: limit - len(found)]
    return found


def _older_than(place: Place) -> Q:
    return Q(began_at__lt=place.began_at) | Q(began_at=place.began_at, pk__lt=place.pk)


def _facts(incidents: Sequence[Incident], now: datetime) -> _Facts:
    """Four queries, however many incidents and problems."""
    facts = _Facts()
    if not incidents:
        return facts
    problems = Problem.objects.filter(incident_id__in=[incident.pk for incident in incidents])
    standing = Case(*(When(status=status, then=place) for place, status in enumerate(WORST_FIRST)))
    of_metrics = problems.annotate(standing=standing).order_by("incident_id", "metric", "standing", "level_rank", "pk")
    for problem in of_metrics.distinct("incident_id", "metric"):
        facts.problems[problem.incident_id].append(problem)
    for those in facts.problems.values():
        those.sort(key=lambda one: (WORST_FIRST.index(ProblemStatus(one.status)), one.level_rank, one.began_at))
    facts.count = dict(problems.order_by().values_list("incident_id").annotate(count=Count("pk")))
    told = Delivery.objects.filter(incident__in=incidents).order_by().values_list("incident_id", "status")
    for pk, status, people in told.annotate(people=Count("address", distinct=True)):
        facts.told[pk][status] = people
    facts.silences = active(now)
    return facts


def _row(incident: Incident, facts: _Facts, operated: Collection[int]) -> IncidentRow:
    problems, told, server = facts.problems[incident.pk], facts.told[incident.pk], incident.server
    group = server.group if server else incident.group
    ended = incident.resolved_at
    owner = incident.acknowledged_by
    return IncidentRow(
        pk=incident.pk,
        url=incident.get_absolute_url(),
        level=incident.level,
        level_word=str(Level(incident.level).label),
        level_icon=icon(LEVEL_ICONS[incident.level], 18),
        status=incident.status,
        status_word=str(IncidentStatus(incident.status).label),
        status_icon=icon(STATUS_ICONS[incident.status], 14),
        server=server.name if server else incident.server_name,
        server_url=server.get_absolute_url() if server else "",
        group=group.name if group else "",
        simulated=incident.simulated,
        what=what_is_wrong(problems[0]) if problems else "",
        more=max(0, facts.count.get(incident.pk, 0) - 1),
        began_at=incident.began_at,
        resolved_at=ended,
        lasted=duration((ended - incident.began_at).total_seconds()) if ended else "",
        owner=name_of(owner) if owner else "",
        owned_until=incident.acknowledged_until if incident.status == IncidentStatus.ACKNOWLEDGED else None,
        told=Told(*(told.get(status, 0) for status in TOLD)),
        silence=covering_all(server, [one for one in problems if one.status == ProblemStatus.FIRING], facts.silences),
        metrics=json.dumps([[one.metric, metric_label(one.metric)] for one in problems], ensure_ascii=False),
        may_operate=group is not None and group.pk in operated,
    )


# --- Counts, and whether anything changed -----------------------------------------------------------------------------


def status_counts(audience: str) -> dict[str, int]:
    """How many incidents `audience` may see, by status; resolved ones up to MOST_COUNTED + 1. Two queries."""
    seen = incidents_of(audience).order_by()
    still = seen.filter(resolved_at=None).values_list("status").annotate(count=Count("pk"))
    over = seen.filter(resolved_at__isnull=False).values("pk")[: MOST_COUNTED + 1].count()
    return dict(still) | {IncidentStatus.RESOLVED.value: over}


def _status_counts(by_status: dict[str, int], wanted: IncidentFilter) -> list[StatusCount]:
    still = sum(count for status, count in by_status.items() if status != IncidentStatus.RESOLVED)
    everything = sum(by_status.values())
    words = {IncidentFilter.OPEN: _("Open"), **dict(IncidentStatus.choices), IncidentFilter.ALL: _("All")}
    icons = {IncidentFilter.OPEN: "siren", **STATUS_ICONS, IncidentFilter.ALL: "list"}
    counts = {IncidentFilter.OPEN: still, IncidentFilter.ALL: everything} | by_status
    is_more = by_status[IncidentStatus.RESOLVED] > MOST_COUNTED
    return [
        StatusCount(
            status=status,
            word=str(words[status]),
            icon=icon(icons[status]),
            count=counts.get(status, 0) - (1 if is_more and status in ENDLESS else 0),
            is_more=is_more and status in ENDLESS,
            url=wanted.with_status(status),
            is_current=status == wanted.status,
        )
        for status in IncidentFilter.STATUSES
    ]


ENDLESS = (IncidentStatus.RESOLVED.value, IncidentFilter.ALL)


def list_cursor(audience: str, now: datetime) -> Cursor:
    """Changes with whatever the list says of open incidents, with one that has just ended, with a mail on its way.

    Four queries over what is open, queued or silenced now; what is long over is not looked at.
    """
    still = incidents_of(audience).filter(resolved_at=None).order_by()
    nothing = Value("", output_field=TextField())
    parts = [part for name in SHOWN for part in (Coalesce(Cast(name, TextField()), nothing), Value("/"))]
    mark = Func(
        Concat(*parts, output_field=TextField()), Value(0), function="hashtextextended", output_field=BigIntegerField()
    )
    entries = Entry.objects.filter(incident__in=still.values("pk")).order_by().aggregate(pk=Max("pk"), at=Max("at"))
    queued = Delivery.objects.filter(status=DeliveryStatus.QUEUED, incident__in=incidents_of(audience).order_by())
    silences = Silence.objects.filter(ends_at__gt=now).order_by()
    marks = (
        still.aggregate(count=Count("pk"), mark=BitXor(mark)),
        entries["pk"],
        queued.order_by().aggregate(count=Count("pk"), newest=Max("pk")),
        silences.aggregate(count=Count("pk"), ends=Max("ends_at"), newest=Max("pk")),
    )
    word = blake2b(repr(marks).encode(), digest_size=8).hexdigest()
    return Cursor(word, at_ms(entries["at"]) or 0)
