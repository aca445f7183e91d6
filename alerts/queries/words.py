"""Incidents and problems in the active language, and the icons that stand beside the words."""

from __future__ import annotations

from django.utils.translation import gettext as _

from alerts.models import Condition, DeliveryStatus, IncidentStatus, Level, Problem, What
from monitoring.queries.samples import SeriesName, metric_label, series_label
from portal.toolkit.quantity import quantity

LEVEL_ICONS: dict[str, str] = {
    Level.CRITICAL: "octagon-alert",
    Level.WARNING: "triangle-alert",
    Level.INFO: "info",
}
STATUS_ICONS: dict[str, str] = {
    IncidentStatus.PENDING: "hourglass",
    IncidentStatus.FIRING: "flame",
    IncidentStatus.ACKNOWLEDGED: "user-check",
    IncidentStatus.RESOLVED: "circle-check",
}
DELIVERY_ICONS: dict[str, str] = {
    DeliveryStatus.QUEUED: "clock",
    DeliveryStatus.ACCEPTED: "mail-check",
    DeliveryStatus.DEAD: "mail-x",
}
WHAT_ICONS: dict[str, str] = {
    What.BEGAN: "activity",
    What.FIRED: "flame",
    What.JOINED: "plus",
    What.RAISED: "trending-up",
    What.LOWERED: "trending-down",
    What.CLEARED: "check",
    What.RESOLVED: "circle-check",
    What.ACKNOWLEDGED: "user-check",
    What.RELEASED: "undo-2",
    What.EXPIRED: "alarm-clock-off",
    What.SILENCED: "bell-off",
    What.UNSILENCED: "bell",
    What.COMMENTED: "message-square",
    What.QUEUED: "mail",
    What.FOLDED: "layers",
    What.WITHHELD: "bell-off",
    What.SKIPPED: "mail-minus",
    What.ACCEPTED: "mail-check",
    What.DEFERRED: "clock",
    What.BOUNCED: "mail-x",
}


def subject(problem: Problem) -> str:
    """What is measured: "CPU", "Disk by mount /var"."""
    label = metric_label(problem.metric)
    return f"{label} {series_label(SeriesName(problem.metric, problem.labels))}" if problem.labels else label


def what_is_wrong(problem: Problem) -> str:
    """ "CPU 97.2%, above 85.0%" or "CPU: no data"; of a problem that does not fire yet, the value that began it."""
    parts = {
        "what": subject(problem),
        "value": quantity(problem.value if problem.value is not None else problem.last_value, problem.unit),
        "limit": quantity(problem.limit, problem.unit),
    }
    if problem.condition == Condition.NO_DATA:
        return _("%(what)s: no data") % parts
    if problem.condition == Condition.BELOW:
        return _("%(what)s %(value)s, below %(limit)s") % parts
    return _("%(what)s %(value)s, above %(limit)s") % parts
