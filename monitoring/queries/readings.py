"""What the card of a server shows that is no machine: a check, a database, a cache, a job. No queries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from monitoring import hot
from monitoring.catalogue import BY_NAME
from monitoring.history.frame import SeriesName
from portal.toolkit.quantity import quantity

MOST = 3
HIGH, FULL = 80.0, 90.0
"""From here on a bar is drawn as high and as nearly full. A drawing aid: thresholds decide states, not these."""

# What tells most comes first; a card has room for a word or two.
LABELS: dict[str, str] = {
    "check_up": gettext_noop("Check"),
    "check_time": gettext_noop("Time"),
    "certificate_days": gettext_noop("Certificate"),
    "check_status": gettext_noop("Status"),
    "job_failed": gettext_noop("Job"),
    "job_overdue": gettext_noop("Overdue"),
    "job_duration": gettext_noop("Took"),
    "db_connections_share": gettext_noop("Connections"),
    "db_cache_hit": gettext_noop("Cache hit"),
    "cache_memory_share": gettext_noop("Memory"),
    "cache_hit": gettext_noop("Cache hit"),
    "cache_ops": gettext_noop("Operations"),
    "db_transactions": gettext_noop("Transactions"),
    "cache_memory": gettext_noop("Memory"),
    "cache_latency": gettext_noop("Latency"),
    "nodes_ready": gettext_noop("Nodes ready"),
    "pods": gettext_noop("Pods"),
    "pods_pending": gettext_noop("Pending"),
    "containers": gettext_noop("Containers"),
    "response_p95": gettext_noop("Response, p95"),
    "throughput": gettext_noop("Throughput"),
    "error_rate": gettext_noop("Errors"),
    "queue_depth": gettext_noop("Queue"),
    "queue_age": gettext_noop("Oldest"),
    "uptime": gettext_noop("Uptime"),
}
# Of these 100 is full; a hit ratio is best when it is.
FILLING = frozenset({"db_connections_share", "cache_memory_share"})
PASSED_AT = {"check_up": 1.0, "job_failed": 0.0}

_CPU, _MEMORY = SeriesName("cpu"), SeriesName("memory")


@dataclass(frozen=True, slots=True)
class Reading:
    """One line: `width` ("0" to "100") draws a bar where it is not "", `level` is "", "high" or "full"."""

    label: str
    text: str
    width: str
    level: str


def readings(newest: hot.Newest) -> list[Reading]:
    """At most three lines; none for a machine, whose card has its gauges. What nobody knows goes by its own name."""
    if _CPU in newest or _MEMORY in newest:
        return []
    checks = sorted(
        (value, json.loads(name.labels).get("check", name.labels))
        for name, (_at, value) in newest.items()
        if name.metric == "check_up" and name.labels and isfinite(value)
    )
    if checks:  # several: those that failed come first
        return [_passed(label, value == 1.0) for value, label in checks[:MOST]]
    had = [metric for metric in LABELS if SeriesName(metric) in newest]
    others = sorted(name.metric for name in newest if not name.labels and name.metric not in LABELS)
    return [_reading(metric, newest[SeriesName(metric)][1]) for metric in [*had, *others][:MOST]]


def _passed(label: str, passed: bool) -> Reading:
    return Reading(label, _("passed") if passed else _("failed"), "", "" if passed else "full")


def short_label(metric: str) -> str:
    """A word or two where the metric has them, for places with little room."""
    known = BY_NAME.get(metric)
    return _(LABELS[metric]) if metric in LABELS else _(known.label) if known else metric


def _reading(metric: str, value: float) -> Reading:
    known, label = BY_NAME.get(metric), short_label(metric)
    if metric in PASSED_AT and isfinite(value):
        return _passed(label, value == PASSED_AT[metric])
    unit = known.unit if known else ""
    if unit != "%" or not isfinite(value):
        return Reading(label, quantity(value, unit), "", "")
    return Reading(label, quantity(value, unit), bar_width(value), bar_level(value) if metric in FILLING else "")


def bar_width(value: float) -> str:
    """In whole per cent: static/css/bar.css has a class for each."""
    return f"{min(max(value, 0.0), 100.0):.0f}"


def bar_level(value: float) -> str:
    return "full" if value >= FULL else "high" if value >= HIGH else ""
