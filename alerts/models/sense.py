"""What makes no sense in a form about alerts, in words, by field. Without I/O, but for the clock and names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from portal.toolkit.quantity import duration, quantity

if TYPE_CHECKING:
    from alerts.models.oncall import Rota
    from alerts.models.silence import Silence
    from alerts.models.threshold import Threshold

Complaint = tuple[str, str]
"""A field and what is wrong with it."""

LONGEST_S = 7 * 86_400
LONGEST_SILENCE = LONGEST_OVERRIDE = timedelta(days=366)
NO_DATA_AT_LEAST_S = 20
"""A server is called silent after that at the earliest (monitoring.states)."""
LIMITS = ("warning", "critical", "override_warning", "override_critical")
TARGETS = ("kind", "group", "server")


def refuse(complaints: Iterator[Complaint]) -> None:
    """Raise all of them as one ValidationError, if there are any."""
    by_field: dict[str, list[str]] = defaultdict(list)
    for field, text in complaints:
        by_field[field].append(text)
    if by_field:
        raise ValidationError(dict(by_field))


def scope_complaints(scoped: Threshold | Silence) -> Iterator[Complaint]:
    """A scope has its own target and no other."""
    given = {"kind": bool(scoped.kind), "group": scoped.group_id is not None, "server": scoped.server_id is not None}
    missing = {
        "kind": _("Say which kind of server it is for."),
        "group": _("Say which group it is for."),
        "server": _("Say which server it is for."),
    }
    for target in TARGETS:
        if target == scoped.scope and not given[target]:
            yield target, missing[target]
        elif target != scoped.scope and given[target]:
            yield target, _("Leave this empty: the scope is “%(scope)s”.") % {"scope": scoped.get_scope_display()}


def threshold_complaints(threshold: Threshold, now: datetime) -> Iterator[Complaint]:
    """Every way in which its values contradict each other, its metric or the clock. Needs `metric` to be set."""
    unreal = [name for name in (*LIMITS, "clear") if not _is_real(getattr(threshold, name))]
    if unreal:
        yield from ((name, _("Enter a number.")) for name in unreal)
        return
    yield from _order(threshold, "warning", "critical")
    yield from _order(threshold, "override_warning", "override_critical")
    yield from _range(threshold)
    yield from _clearing(threshold)
    yield from _times(threshold)
    yield from _override(threshold, now)


def _is_real(value: float | None) -> bool:
    return value is None or isfinite(value)


def _order(threshold: Threshold, warning: str, critical: str) -> Iterator[Complaint]:
    """A warning comes before the critical limit."""
    first, second = getattr(threshold, warning), getattr(threshold, critical)
    if first is None or second is None:
        return
    shown = {"critical": quantity(second, threshold.metric.unit)}
    if threshold.is_above and first >= second:
        yield warning, _("A warning comes first: it must be less than critical, %(critical)s.") % shown
    elif not threshold.is_above and first <= second:
        yield warning, _("A warning comes first: it must be more than critical, %(critical)s.") % shown


def _range(threshold: Threshold) -> Iterator[Complaint]:
    """A limit that no value of the metric breaks, or that every value does, is a slip of the keyboard."""
    for name in LIMITS:
        limit = getattr(threshold, name)
        if limit is not None:
            yield from ((name, text) for text in _range_of(threshold, limit))
    if threshold.clear is not None and not _can_clear(threshold, threshold.clear):
        yield "clear", _("%(metric)s never gets there: it would never be over.") % {"metric": _metric(threshold)}


def _range_of(threshold: Threshold, limit: float) -> Iterator[str]:
    lowest, highest = threshold.metric.minimum, threshold.metric.maximum
    said = {"metric": _metric(threshold), "lowest": _said(threshold, lowest), "highest": _said(threshold, highest)}
    if threshold.is_above:
        if highest is not None and limit >= highest:
            yield _("%(metric)s is %(highest)s at the most: this is never broken.") % said
        elif lowest is not None and limit < lowest:
            yield _("%(metric)s is %(lowest)s at the least: this is always broken.") % said
    elif lowest is not None and limit <= lowest:
        yield _("%(metric)s is %(lowest)s at the least: this is never broken.") % said
    elif highest is not None and limit > highest:
        yield _("%(metric)s is %(highest)s at the most: this is always broken.") % said


def _can_clear(threshold: Threshold, clear: float) -> bool:
    lowest, highest = threshold.metric.minimum, threshold.metric.maximum
    if threshold.is_above:
        return lowest is None or clear >= lowest
    return highest is None or clear <= highest


def _clearing(threshold: Threshold) -> Iterator[Complaint]:
    """The clearing value lies on the good side of every limit, or is one."""
    clear = threshold.clear
    if clear is None:
        return
    limits = [limit for limit in (getattr(threshold, name) for name in LIMITS) if limit is not None]
    if not limits:
        yield "clear", _("There is no limit that could clear.")
    elif threshold.is_above and clear > min(limits):
        text = _("It must not be more than the lowest limit, %(limit)s: else it is over while it is still broken.")
        yield "clear", text % {"limit": _said(threshold, min(limits))}
    elif not threshold.is_above and clear < max(limits):
        text = _("It must not be less than the highest limit, %(limit)s: else it is over while it is still broken.")
        yield "clear", text % {"limit": _said(threshold, max(limits))}


def _times(threshold: Threshold) -> Iterator[Complaint]:
    kept_s = settings.RETENTION_DAYS * 86_400
    for name in ("for_s", "no_data_after_s"):
        seconds = getattr(threshold, name)
        if seconds is not None and seconds > kept_s:
            yield name, _("Samples are kept for %(time)s only.") % {"time": duration(kept_s)}
        elif seconds is not None and seconds > LONGEST_S:
            yield name, _("Use at most %(time)s.") % {"time": duration(LONGEST_S)}
    silence_s = threshold.no_data_after_s
    if silence_s is not None and silence_s < NO_DATA_AT_LEAST_S:
        text = _("Use at least %(time)s: samples take some seconds.")
        yield "no_data_after_s", text % {"time": duration(NO_DATA_AT_LEAST_S)}


def _override(threshold: Threshold, now: datetime) -> Iterator[Complaint]:
    until, limits = threshold.override_until, (threshold.override_warning, threshold.override_critical)
    if until is None:
        if limits != (None, None):
            yield "override_until", _("Say until when these limits count.")
    elif until <= now:
        yield "override_until", _("This is over already.")
    elif until > now + LONGEST_OVERRIDE:
        yield "override_until", _("Use at most a year; for longer, change the limits themselves.")
    elif limits == (threshold.warning, threshold.critical):
        yield "override_until", _("The limits until then are the same as always: leave this empty.")


def silence_complaints(silence: Silence, now: datetime) -> Iterator[Complaint]:
    yield from time_complaints(silence.starts_at, silence.ends_at)
    ends_at = silence.ends_at
    if ends_at and silence._state.adding and ends_at <= now:
        yield "ends_at", _("This is over already.")
    elif ends_at and ends_at > now + LONGEST_SILENCE:
        yield "ends_at", _("Use at most a year; what nobody wants to hear of ever needs another threshold.")


def time_complaints(starts_at: datetime | None, ends_at: datetime | None) -> Iterator[Complaint]:
    """A time has a length. None: the form has complained about it itself."""
    if starts_at and ends_at and ends_at <= starts_at:
        yield "ends_at", _("It must end after it starts.")


def rota_complaints(rota: Rota) -> Iterator[Complaint]:
    if rota.time_zone not in available_timezones():
        text = _("“%(zone)s” is not a time zone, use a name such as Asia/Seoul.")
        yield "time_zone", text % {"zone": rota.time_zone}


def _metric(threshold: Threshold) -> str:
    return _(str(threshold.metric))


def _said(threshold: Threshold, value: float | None) -> str:
    return quantity(value, threshold.metric.unit)
