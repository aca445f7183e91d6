"""How the series of a server are laid out as charts: which share a panel, under which heading, in which order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from monitoring.catalogue import BY_NAME, CATALOGUE
from monitoring.history.frame import SeriesName

# Metrics that are read together share a panel; every other metric has its own. The first word is the panel's key.
SHARED = {
    "network": (gettext_noop("Network"), ("net_rx", "net_tx")),
    "load": (gettext_noop("Load"), ("load1", "load5", "load15")),
    "disk_traffic": (gettext_noop("Disk traffic"), ("disk_read", "disk_write")),
    "response": (gettext_noop("Response time"), ("response_p50", "response_p95")),
}
PANEL_OF = {metric: key for key, (_label, metrics) in SHARED.items() for metric in metrics}
# Numbers that hardly move: kept and drawn, but not among the first charts.
STEADY = frozenset({"uptime", "cpu_cores", "memory_total", "memory_used", "disk_total", "disk_used"})
# Shares that live near zero: against a full scale of 100 they would look like nothing.
SMALL_SHARES = frozenset({"error_rate", "conversion"})
ON_THE_AXIS = frozenset({"%", "s", "ms", "KB/s", "MB"})
FAMILIES = {
    "system": gettext_noop("System"),
    "application": gettext_noop("Application"),
    "database": gettext_noop("Database"),
    "cache": gettext_noop("Cache"),
    "queue": gettext_noop("Queue"),
    "check": gettext_noop("Checks and jobs"),
    "container": gettext_noop("Containers"),
    "business": gettext_noop("Business"),
}
REST = "rest"


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart. `metrics` are asked of the samples address; `minimum` and `maximum` fix the axis where known."""

    key: str
    title: str
    unit: str
    metrics: tuple[str, ...]
    minimum: float | None
    maximum: float | None

    @property
    def asked(self) -> str:
        return ",".join(self.metrics)

    @property
    def named_unit(self) -> str:
        """The unit beside the title, where the axis does not repeat it."""
        return "" if self.unit in ON_THE_AXIS else self.unit


@dataclass(frozen=True, slots=True)
class PanelGroup:
    family: str
    title: str
    panels: list[Panel]


def panel_groups(names: Iterable[SeriesName]) -> list[PanelGroup]:
    """The panels of a server that has these series, in the catalogue's order; the group REST, if any, is the last."""
    had = {name.metric for name in names}
    groups = [
        PanelGroup(
            family, _(title), _panels([m.name for m in CATALOGUE if m.family == family and m.name in had - STEADY])
        )
        for family, title in FAMILIES.items()
    ]
    known = [metric.name for metric in CATALOGUE if metric.name in had & STEADY]
    rest = _panels([*known, *sorted(had - BY_NAME.keys())])
    return [group for group in [*groups, PanelGroup(REST, _("More metrics"), rest)] if group.panels]


def _panels(metrics: Sequence[str]) -> list[Panel]:
    keys: dict[str, list[str]] = {}
    for metric in metrics:
        keys.setdefault(PANEL_OF.get(metric, metric), []).append(metric)
    return [_panel(key, tuple(members)) for key, members in keys.items()]


def _panel(key: str, metrics: tuple[str, ...]) -> Panel:
    known = BY_NAME.get(metrics[0])
    if known and known.name in SMALL_SHARES:
        known = replace(known, maximum=None)
    title = _(SHARED[key][0]) if key in SHARED else metric_label(key)
    if known is None:
        return Panel(key, title, "", metrics, None, None)
    return Panel(key, title, known.unit, metrics, known.minimum, known.maximum)


def metric_label(metric: str) -> str:
    known = BY_NAME.get(metric)
    return _(known.label) if known else metric


def series_label(name: SeriesName) -> str:
    """What a legend calls the series: its labels where it has some, else its metric."""
    if not name.labels:
        return metric_label(name.metric)
    labels: dict[str, str] = json.loads(name.labels)
    if len(labels) == 1:
        [(key, value)] = labels.items()
        return f"{key} {value}" if value.isdecimal() else value or key
    return ", ".join(f"{key}={value}" for key, value in labels.items())
