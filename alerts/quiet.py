"""Which silences hold now, and what they cover. Reads only; `alerts.silences` changes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from alerts.models import Incident, Problem, ProblemStatus, Silence
from alerts.rules.scope import covers
from monitoring.models import Server


def active(now: datetime) -> list[Silence]:
    """The silences that hold at `now`, the one that ends last first, with metric and author; one query."""
    holding = Silence.objects.filter(starts_at__lte=now, ends_at__gt=now)
    return list(holding.select_related("metric", "created_by").order_by("-ends_at", "pk"))


def covering(incident: Incident, silences: Sequence[Silence]) -> Silence | None:
    """The silence because of which nobody is mailed about `incident`; one query when there are silences at all.

    None unless every problem that fires is covered, each by whichever silence; the one that ends last is named.
    """
    if not silences:
        return None
    firing = incident.problems.filter(status=ProblemStatus.FIRING)
    return covering_all(incident.server, list(firing), silences)


def covering_all(server: Server | None, problems: Iterable[Problem], silences: Sequence[Silence]) -> Silence | None:
    """`covering` for problems that are at hand."""
    if server is None:
        return None
    here = [silence for silence in silences if covers(silence, server)]
    found = [_covering_one(problem, here) for problem in problems]
    named = [silence for silence in found if silence is not None]
    return max(named, key=lambda silence: silence.ends_at) if named and len(named) == len(found) else None


def _covering_one(problem: Problem, silences: Sequence[Silence]) -> Silence | None:
    fitting = (silence for silence in silences if silence.metric is None or silence.metric.name == problem.metric)
    return next(fitting, None)
