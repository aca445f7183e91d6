"""Silences: made, ended, and what their beginning and end do to the incidents that are open."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.db import transaction

from alerts.desk import RANK
from alerts.models import Entry, Incident, IncidentStatus, Level, Problem, Scope, Silence, SilenceKind, What
from alerts.notify import SILENCED, News, tell
from alerts.quiet import active, covering, covering_all
from alerts.rules.scope import covers
from alerts.standing import firing_in, locked
from alerts.timeline import announce, note, write
from monitoring.models import Metric, Server, ServerGroup
from portal.toolkit.sentence import sentence

__all__ = ["active", "covering", "end", "end_over", "reconcile", "silence"]

FIRED = (IncidentStatus.FIRING, IncidentStatus.ACKNOWLEDGED)
MARKS = (What.SILENCED, What.WITHHELD, What.UNSILENCED)
"""The newest of these entries says whether an incident was silenced when it was last looked at."""


@transaction.atomic
def silence(
    by: AbstractUser,
    *,
    scope: Scope,
    kind: str = "",
    group: ServerGroup | None = None,
    server: Server | None = None,
    metric: Metric | None = None,
    reason: str,
    starts_at: datetime,
    ends_at: datetime,
    purpose: SilenceKind = SilenceKind.SILENCE,
    now: datetime,
) -> Silence:
    """Nobody is mailed about this scope from `starts_at` to `ends_at`.

    Raises django.db.IntegrityError when the target does not fit the scope or the end is not after the start.
    """
    made = Silence(
        purpose=purpose,
        scope=scope,
        kind=kind,
        group=group,
        server=server,
        metric=metric,
        reason=reason,
        starts_at=starts_at,
        ends_at=ends_at,
    )
    made.created_by_id = by.pk
    made._history_user = by  # type: ignore[attr-defined]  # (how simple_history is told who it was)
    made.save()
    reconcile(now)
    return made


@transaction.atomic
def end(silence: Silence, by: AbstractUser, now: datetime) -> None:
    """It no longer holds: what is still firing is mailed at once. One that has not begun is deleted."""
    held = Silence.objects.select_for_update().filter(pk=silence.pk).first()
    if held is None or held.ends_at <= now:
        return
    held._history_user = by  # type: ignore[attr-defined]
    if held.starts_at < now:
        held.ends_at = now
        held.save(update_fields=["ends_at"])
    else:
        held.delete()
    reconcile(now, by)


def end_over(server: Server, by: AbstractUser, now: datetime) -> bool:
    """End what silences this server and its group now. False when something wider goes on keeping it quiet."""
    own = {Scope.SERVER, Scope.GROUP}
    here = [one for one in active(now) if covers(one, server)]
    for one in here:
        if one.scope in own:
            end(one, by, now)
    return all(one.scope in own for one in here)


@transaction.atomic
def reconcile(now: datetime, by: AbstractUser | None = None) -> None:
    """Note on each incident that a silence began or ended, and tell of those that nobody kept quiet any more.

    It goes by what the time lines say, so it does not matter how a silence came or went: made, edited or deleted in the
    admin, or only the clock. Two queries when there is no silence. `by` ended one.
    """
    silences = active(now)
    marks = _marks()
    if not silences and not any(marks.values()):
        return
    candidates = Incident.objects.filter(status__in=FIRED)
    if not silences:
        candidates = candidates.filter(pk__in=[pk for pk, silenced in marks.items() if silenced])
    incidents = locked(candidates)
    marks = _marks()  # somebody else may have been here while we waited
    firing = firing_in(incidents)
    begun: list[Entry] = []
    ended: list[Incident] = []
    for incident in incidents:
        covering = covering_all(incident.server, firing[incident.pk], silences)
        if covering is not None and not marks.get(incident.pk):
            text = sentence(SILENCED, reason=covering.reason)
            begun.append(note(incident, What.SILENCED, now, by=covering.created_by, text=text))
        elif covering is None and marks.get(incident.pk):
            ended.append(incident)
    write(begun)
    _tell_what_was_withheld(ended, firing, now, by)
    announce([entry.incident_id for entry in begun] + [incident.pk for incident in ended])


def _tell_what_was_withheld(
    ended: Sequence[Incident], firing: Mapping[int, list[Problem]], now: datetime, by: AbstractUser | None
) -> None:
    """Nobody keeps these quiet any more."""
    ids = [incident.pk for incident in ended]
    spared, worse = _spared_a_reminder(ids), _worse_than_taken(ended)
    write([note(incident, What.UNSILENCED, now, by=by) for incident in ended])
    news = [
        News(
            one,
            Level(one.level),
            still=True,
            rose=one.pk in worse,
            reminder=one.pk in spared,
            concerned=firing[one.pk],
        )
        for one in ended
    ]
    tell(news, now)


def _marks() -> dict[int, bool]:
    """For each fired incident that ever was silenced, whether it was when it was last looked at."""
    newest = Entry.objects.filter(incident__status__in=FIRED, what__in=MARKS).order_by("incident_id", "-pk")
    rows = newest.distinct("incident_id").values_list("incident_id", "what")
    return {pk: what != What.UNSILENCED for pk, what in rows}


def _worse_than_taken(incidents: Sequence[Incident]) -> set[int]:
    """Which of these became worse since somebody took them."""
    taken = Entry.objects.filter(incident__in=incidents, what=What.ACKNOWLEDGED).order_by("incident_id", "-pk")
    levels = dict(taken.distinct("incident_id").values_list("incident_id", "level")) if incidents else {}
    return {one.pk for one in incidents if one.pk in levels and RANK[Level(one.level)] < RANK[Level(levels[one.pk])]}


def _spared_a_reminder(incident_ids: Collection[int]) -> set[int]:
    """Whose acknowledgement ran out while nobody was mailed."""
    expired: set[int] = set()
    spared: set[int] = set()
    if not incident_ids:
        return spared
    rows = Entry.objects.filter(incident__in=incident_ids, what__in=[What.EXPIRED, What.WITHHELD, What.UNSILENCED])
    for pk, what in rows.order_by("pk").values_list("incident_id", "what"):
        if what == What.UNSILENCED:
            expired.discard(pk)
            spared.discard(pk)
        elif what == What.EXPIRED:
            expired.add(pk)
        elif pk in expired:
            spared.add(pk)
    return spared
