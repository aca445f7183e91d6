"""What a mail says, in the active language and time zone; its HTML and its plain text are made of the same facts."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import NamedTuple

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from alerts.around import logs_path
from alerts.delivery.chart import Chart
from alerts.incidents.words import is_limit_change
from alerts.models import Condition, Delivery, DeliveryKind, Incident, Level, Problem, ProblemStatus, Threshold
from alerts.queries.words import subject as measured
from alerts.timeline import name_of
from monitoring.queries.samples import metric_label
from portal.toolkit.quantity import duration, quantity
from portal.toolkit.sentence import say

LONGEST_NAME = 80
MOST_LINES = 40
JOINERS = "\u200c\u200d"
"""Invisible, but letters of some scripts change with them."""


class Row(NamedTuple):
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Line:
    """Another problem of the incident. `level` is its CSS class."""

    level: str
    level_word: str
    text: str
    since: str


@dataclass(frozen=True, slots=True)
class Picture:
    """What stands around the chart, and what is said in its place."""

    alt: str
    top: str
    bottom: str
    start: str
    end: str
    legend: str


@dataclass(frozen=True, slots=True)
class Facts:
    """`level` is the CSS class: critical, warning, info or healthy. `lines_left` counts those that are not listed."""

    language: str
    subject: str
    level: str
    word: str
    server: str
    lead: str
    note: str
    rows: list[Row]
    lines_title: str
    lines: list[Line]
    lines_left: int
    picture: Picture | None
    incident_url: str
    server_url: str
    logs_url: str
    portal_url: str
    footer: str


def facts(row: Delivery, problems: Sequence[Problem], chart: Chart | None, language: str, now: datetime) -> Facts:
    """`problems` are those that the mail tells of, the worst first (see `told_of`); no query."""
    incident, recovered = row.incident, row.kind == DeliveryKind.RECOVERED
    server = clean(incident.server_name)
    others = problems if recovered else problems[1:]
    return Facts(
        language=language,
        subject=_subject(row, problems),
        level="healthy" if recovered else row.level,
        word=_word(row, problems),
        server=server,
        lead=_lead(row, problems),
        note=_("This is a simulated server: its numbers are generated.") if incident.simulated else "",
        rows=[*_server_rows(incident), *(_end_rows(row) if recovered else _problem_rows(row, problems, now))],
        lines_title=_("What was wrong") if recovered else _("Also wrong"),
        lines=[_ended(one) if recovered else _wrong(one, now) for one in others[:MOST_LINES]],
        lines_left=max(len(others) - MOST_LINES, 0),
        picture=_picture(problems[0], chart) if chart and problems else None,
        incident_url=settings.PORTAL_URL + incident.get_absolute_url(),
        server_url=settings.PORTAL_URL + reverse("monitoring:server", args=[incident.server_id])
        if incident.server_id
        else "",
        logs_url=settings.PORTAL_URL + logs_path(incident, row.created_at) if incident.server_id else "",
        portal_url=settings.PORTAL_URL,
        footer=_footer(row, incident),
    )


def told_of(row: Delivery, problems: Sequence[Problem]) -> list[Problem]:
    """What fires, or when nothing does any more, what did; the worst first."""
    firing = [one for one in problems if one.status == ProblemStatus.FIRING]
    fired = [one for one in problems if one.fired_at is not None]
    chosen = fired if row.kind == DeliveryKind.RECOVERED else firing or fired
    return sorted(chosen, key=lambda one: (list(Level).index(Level(one.level)), one.began_at, one.pk))


# --- The first lines --------------------------------------------------------------------------------------------------


def _subject(row: Delivery, problems: Sequence[Problem]) -> str:
    """What, where and how much, on one line of bounded length without anything invisible."""
    incident = row.incident
    server = shortened(clean(incident.server_name))
    parts = {
        "level": Level(row.level).label,
        "server": _("%(server)s (simulated)") % {"server": server} if incident.simulated else server,
        "what": _and_more(_how_wrong(problems[0], row.kind) if problems else "", len(problems) - 1),
        "time": duration(_lasted_s(incident, row.created_at)),
    }
    messages = {
        DeliveryKind.FIRED: _("%(level)s: %(server)s %(what)s"),
        DeliveryKind.RAISED: _("Now %(level)s: %(server)s %(what)s"),
        DeliveryKind.REMINDER: _("Still %(level)s: %(server)s %(what)s"),
        DeliveryKind.RECOVERED: _("No longer watched: %(server)s %(what)s after %(time)s")
        if _ended_otherwise(problems)
        else _("Recovered: %(server)s %(what)s after %(time)s"),
    }
    return clean(messages[DeliveryKind(row.kind)] % parts)


def _how_wrong(problem: Problem, kind: str) -> str:
    what = shortened(clean(measured(problem)))
    if kind == DeliveryKind.RECOVERED:
        return what
    if problem.condition == Condition.NO_DATA:
        return _("%(what)s: no data") % {"what": what}
    parts = {"what": what, "value": _value(problem), "limit": limit_words(problem.limit, problem.unit)}
    return _("%(what)s %(value)s (limit %(limit)s)") % parts


def _and_more(what: str, count: int) -> str:
    return _("%(what)s and %(count)s more") % {"what": what, "count": count} if count > 0 else what


def _word(row: Delivery, problems: Sequence[Problem]) -> str:
    if row.kind == DeliveryKind.RECOVERED:
        return _("No longer watched") if _ended_otherwise(problems) else _("Recovered")
    words = {
        DeliveryKind.FIRED: "%(level)s",
        DeliveryKind.RAISED: _("Now %(level)s"),
        DeliveryKind.REMINDER: _("Still %(level)s"),
    }
    return words[DeliveryKind(row.kind)] % {"level": Level(row.level).label}


def _lead(row: Delivery, problems: Sequence[Problem]) -> str:
    if row.kind == DeliveryKind.RECOVERED:
        parts = {
            "what": _and_more(clean(measured(problems[0])) if problems else "", len(problems) - 1),
            "time": duration(_lasted_s(row.incident, row.created_at)),
        }
        return (_("%(what)s, after %(time)s") % parts).lstrip(", ")
    return _state_of(problems[0]) if problems else ""


def _state_of(problem: Problem) -> str:
    parts = {
        "what": clean(measured(problem)),
        "value": _value(problem),
        "limit": limit_words(problem.limit, problem.unit),
    }
    if problem.condition == Condition.NO_DATA:
        return _("%(what)s: no data") % parts
    if problem.condition == Condition.BELOW:
        return _("%(what)s %(value)s, below its limit of %(limit)s") % parts
    return _("%(what)s %(value)s, above its limit of %(limit)s") % parts


def _ended_otherwise(problems: Sequence[Problem]) -> bool:
    """Whether all of it ended because nobody looks any more."""
    return bool(problems) and all(one.ended_because and not is_limit_change(one.ended_because) for one in problems)


def _lasted_s(incident: Incident, until: datetime) -> float:
    return max(((incident.resolved_at or until) - incident.began_at).total_seconds(), 0.0)


# --- The facts --------------------------------------------------------------------------------------------------------


def _server_rows(incident: Incident) -> list[Row]:
    group = incident.server.group if incident.server else incident.group
    rows = [Row(_("Server"), clean(incident.server_name))]
    return [*rows, Row(_("Group"), clean(group.name))] if group else rows


def _problem_rows(row: Delivery, problems: Sequence[Problem], now: datetime) -> list[Row]:
    if not problems:
        return [Row(_("Since"), full_time(row.incident.began_at))]
    problem = problems[0]
    rows = [Row(_("Metric"), clean(measured(problem)))]
    if problem.condition != Condition.NO_DATA:
        rows += [Row(_("Value"), _value(problem)), Row(_("Limit"), _limit_of(problem))]
    rows += [Row(_("Since"), full_time(problem.began_at)), Row(_("Rule"), _rule(problem, now))]
    if row.incident.resolved_at is not None:
        over = _("It recovered at %(time)s; another mail tells of it.")
        rows.append(Row(_("Meanwhile"), over % {"time": full_time(row.incident.resolved_at)}))
    return [*rows, Row(_("Owner"), _owner(row.incident) or _("Nobody has taken it yet."))]


def _end_rows(row: Delivery) -> list[Row]:
    incident = row.incident
    rows = [Row(_("Began"), full_time(incident.began_at))]
    if incident.resolved_at is not None:
        rows.append(Row(_("Ended"), full_time(incident.resolved_at)))
    rows.append(Row(_("Lasted"), duration(_lasted_s(incident, row.created_at))))
    rows.append(Row(_("Worst level"), str(Level(incident.peak_level).label)))
    owner = _owner(incident)
    return [*rows, Row(_("Owner"), owner)] if owner else rows


def _owner(incident: Incident) -> str:
    return clean(name_of(incident.acknowledged_by)) if incident.acknowledged_by else ""


def _value(problem: Problem) -> str:
    return quantity(problem.value if problem.value is not None else problem.last_value, problem.unit)


def _limit_of(problem: Problem) -> str:
    message = _("below %(limit)s") if problem.condition == Condition.BELOW else _("above %(limit)s")
    return message % {"limit": limit_words(problem.limit, problem.unit)}


def limit_words(limit: float | None, unit: str) -> str:
    """As whoever set it would write it: 85%, not 85.0%."""
    if limit is not None and unit == "%" and isfinite(limit) and limit == round(limit):
        return f"{limit:.0f}%"
    return quantity(limit, unit)


def _rule(problem: Problem, now: datetime) -> str:
    rule = problem.threshold
    if rule is None:
        return _("The threshold has been removed since.")
    parts = _limits_of(rule, problem, now)
    if rule.for_s:
        parts.append(_("for %(time)s") % {"time": duration(rule.for_s)})
    if problem.condition == Condition.NO_DATA and rule.no_data_after_s:
        parts = [_("no data for %(time)s") % {"time": duration(rule.no_data_after_s)}]
    said = f"{metric_label(problem.metric)}: {', '.join(parts)} · {_scope(rule)}"
    if rule.override_until is not None and rule.is_overridden(now):
        said += " · " + _("overridden until %(time)s") % {"time": full_time(rule.override_until)}
    return clean(said)


def _limits_of(rule: Threshold, problem: Problem, now: datetime) -> list[str]:
    below = rule.direction == "below"
    words = _("%(level)s below %(limit)s") if below else _("%(level)s above %(limit)s")
    levels = zip((Level.WARNING, Level.CRITICAL), rule.limits(now), strict=True)
    return [
        words % {"level": level.label, "limit": limit_words(limit, problem.unit)}
        for level, limit in levels
        if limit is not None
    ]


def _scope(rule: Threshold) -> str:
    if rule.scope == "all":
        return rule.target
    return f"{rule.get_scope_display()}: {rule.target}"


# --- The other problems -----------------------------------------------------------------------------------------------


def _wrong(problem: Problem, now: datetime) -> Line:
    level = Level(problem.level)
    return Line(level.value, str(level.label), _state_of(problem), short_time(problem.began_at, now))


def _ended(problem: Problem) -> Line:
    """What it was, how bad it became, and why it is over when it was not the value that ended it."""
    level = Level(problem.level)
    parts = {
        "what": clean(measured(problem)),
        "peak": quantity(problem.peak, problem.unit),
        "limit": limit_words(problem.limit, problem.unit),
        "value": quantity(problem.last_value, problem.unit),
        "because": clean(say(problem.ended_because)),
    }
    if problem.condition == Condition.NO_DATA:
        said = _("%(what)s: no data")
    elif problem.condition == Condition.BELOW:
        said = _("%(what)s: lowest %(peak)s, limit %(limit)s, last %(value)s")
    else:
        said = _("%(what)s: highest %(peak)s, limit %(limit)s, last %(value)s")
    text = said % parts + (f". {parts['because']}" if parts["because"] else "")
    until = problem.resolved_at or problem.began_at
    lasted = duration(max((until - problem.began_at).total_seconds(), 0.0))
    return Line(level.value, str(level.label), text, lasted)


def _picture(problem: Problem, chart: Chart) -> Picture:
    parts = {
        "what": clean(measured(problem)),
        "start": short_time(chart.start, chart.end),
        "end": short_time(chart.end, chart.end),
        "lowest": quantity(chart.lowest, problem.unit),
        "highest": quantity(chart.highest, problem.unit),
        "newest": quantity(chart.newest, problem.unit),
        "limit": limit_words(problem.limit, problem.unit),
    }
    alt = _("%(what)s from %(start)s to %(end)s: between %(lowest)s and %(highest)s, at last %(newest)s.") % parts
    began = _("dotted: began at %(time)s") % {"time": short_time(problem.began_at, chart.end)}
    limit = _("Limit: %(limit)s.") % parts
    legend = [parts["what"], began if problem.limit is None else _("dashed: limit %(limit)s") % parts + f", {began}"]
    return Picture(
        alt=alt if problem.limit is None else f"{alt} {limit}",
        top=limit_words(chart.top, problem.unit),
        bottom=limit_words(chart.bottom, problem.unit),
        start=parts["start"],
        end=parts["end"],
        legend=" · ".join(legend),
    )


def _footer(row: Delivery, incident: Incident) -> str:
    if row.kind == DeliveryKind.RECOVERED:
        return _("You get this mail because you were told that it broke.")
    return _("You get this mail because you are on call.")


# --- Words ------------------------------------------------------------------------------------------------------------


def full_time(instant: datetime) -> str:
    """2026-03-02 21:00:05 KST (Asia/Seoul): the same order in every language, and no doubt about the zone."""
    local = timezone.localtime(instant)
    zone = timezone.get_current_timezone_name()
    short = local.strftime("%Y-%m-%d %H:%M:%S %Z")
    return short if local.tzname() == zone else f"{short} ({zone})"


def short_time(instant: datetime, now: datetime) -> str:
    """The time of day; with the date when it is not that of `now`."""
    local = timezone.localtime(instant)
    return local.strftime("%H:%M" if local.date() == timezone.localtime(now).date() else "%Y-%m-%d %H:%M")


def clean(text: str) -> str:
    """One line without control characters, and without those that reorder or hide letters."""
    kept = (" " if _is_break(letter) else letter for letter in text if not _is_hidden(letter))
    return " ".join("".join(kept).split())


def _is_break(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Zl", "Zp")


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cf", "Cs") and letter not in JOINERS


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """Head and tail of what is too long: names that differ at their end stay different."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 1]}…{text[-tail:]}"
