"""Sentences about problems, to be stored."""

from __future__ import annotations

import json
from collections.abc import Iterable

from django.utils.translation import gettext_noop as _

from alerts.models import Condition, Problem
from monitoring.models import Metric
from portal.toolkit.sentence import Part, Quantity, Term, sentence

IS_WRONG = {
    Condition.ABOVE: _("%(metric)s%(series)s %(value)s is above %(limit)s"),
    Condition.BELOW: _("%(metric)s%(series)s %(value)s is below %(limit)s"),
    Condition.NO_DATA: _("%(metric)s%(series)s sends no data"),
}
IS_WRONG_AND_MORE = {
    Condition.ABOVE: _("%(metric)s%(series)s %(value)s is above %(limit)s, and %(more)s more"),
    Condition.BELOW: _("%(metric)s%(series)s %(value)s is below %(limit)s, and %(more)s more"),
    Condition.NO_DATA: _("%(metric)s%(series)s sends no data, and %(more)s more"),
}
IS_BACK = _("%(metric)s%(series)s is back at %(value)s")
SENDS_AGAIN = _("%(metric)s%(series)s sends data again")
IS_OVER = _("%(metric)s%(series)s is over")

LIMIT_CHANGED = _("Its limit was changed to %(limit)s; the value of %(value)s does not break it.")

Labels = dict[str, str]


def labels_of(problems: Iterable[Problem | str]) -> Labels:
    """What people call the metrics of these problems, or of these names, in English; one query."""
    names = {one if isinstance(one, str) else one.metric for one in problems}
    return dict(Metric.objects.filter(name__in=names).order_by().values_list("name", "label")) if names else {}


def wrong(problem: Problem, labels: Labels, more: int = 0) -> str:
    """ "CPU 97.2% is above 85%, and 2 more"; `more` is how many other problems the sentence speaks for."""
    said = _subject(problem, labels)
    condition = Condition(problem.condition)
    if condition != Condition.NO_DATA:
        said["value"] = _amount(problem.value, problem.unit)
        said["limit"] = _amount(problem.limit, problem.unit)
    if more:
        return sentence(IS_WRONG_AND_MORE[condition], **said, more=str(more))
    return sentence(IS_WRONG[condition], **said)


def over(problem: Problem, labels: Labels) -> str:
    """ "CPU is back at 42.0%", or why it is over when no value ended it."""
    if problem.ended_because:
        return problem.ended_because
    said = _subject(problem, labels)
    if problem.condition == Condition.NO_DATA:
        return sentence(SENDS_AGAIN, **said)
    if problem.last_value is None:
        return sentence(IS_OVER, **said)
    return sentence(IS_BACK, **said, value=_amount(problem.last_value, problem.unit))


def limit_changed(problem: Problem, limit: float | None, value: float | None) -> str:
    """Why a problem is over whose value still breaks the limit that it fired for; "" when it does not."""
    if limit is None or value is None or problem.limit is None or problem.condition == Condition.NO_DATA:
        return ""
    beyond = value < problem.limit if problem.condition == Condition.BELOW else value > problem.limit
    if not beyond:
        return ""
    return sentence(LIMIT_CHANGED, limit=_amount(limit, problem.unit), value=_amount(value, problem.unit))


def is_limit_change(ended_because: str) -> bool:
    """Whether `limit_changed` made that stored sentence: the series is still watched."""
    return LIMIT_CHANGED in ended_because


def _subject(problem: Problem, labels: Labels) -> dict[str, Part]:
    return {"metric": Term(labels.get(problem.metric) or problem.metric), "series": _series(problem.labels)}


def _series(labels: str) -> str:
    """ " (eth0)" for {"device": "eth0"}; "" for a series without labels."""
    return f" ({', '.join(str(value) for value in json.loads(labels).values())})" if labels else ""


def _amount(value: float | None, unit: str) -> Part:
    return "–" if value is None else Quantity(value, unit)
