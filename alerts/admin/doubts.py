"""What is allowed in a threshold and yet is probably not what somebody wants: said beside it, never refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from alerts.admin.reach import Reach
from alerts.admin.show import admin_link, metric_words, names
from alerts.models import Direction, Scope, Threshold
from alerts.oncall import Roster
from monitoring.models import Server
from monitoring.queries.samples import intervals
from portal.toolkit.quantity import duration, quantity

MISSED_INTERVALS = 3


def doubts_of(threshold: Threshold, reach: Reach, now: datetime) -> list[str | SafeString]:
    """In words, the gravest first; about eight queries."""
    if not threshold.enabled:
        return [_("It is switched off.")]
    return [
        *_nothing_to_watch(threshold, reach),
        *_exemption(threshold, reach),
        *_no_healthy_value(threshold),
        *_nobody_told(threshold, reach, now),
        *_short_silence(threshold, reach),
    ]


def _nothing_to_watch(threshold: Threshold, reach: Reach) -> Iterator[str]:
    if not reach.measuring:
        yield _("No server that it covers measures %(metric)s.") % {"metric": metric_words(threshold)}
    elif not reach.decided:
        yield _("It decides nothing: a narrower threshold wins for every server that it covers.")


def _exemption(threshold: Threshold, reach: Reach) -> Iterator[str]:
    if (threshold.warning, threshold.critical, threshold.no_data_after_s) != (None, None, None):
        return
    if reach.wider:
        yield _("It has no limit: its servers are exempt from the wider thresholds.")
    else:
        yield _("It has no limit and there is no wider threshold: it does nothing.")


def _no_healthy_value(threshold: Threshold) -> Iterator[SafeString]:
    """Its counterpart in the other direction may leave no value between them. One query."""
    other = (
        Threshold.objects.filter(
            metric=threshold.metric_id,
            direction=Direction.BELOW if threshold.is_above else Direction.ABOVE,
            scope=threshold.scope,
            kind=threshold.kind,
            group=threshold.group_id,
            server=threshold.server_id,
            enabled=True,
        )
        .select_related("metric", "group", "server")
        .first()
    )
    if other is None:
        return
    above, below = (threshold, other) if threshold.is_above else (other, threshold)
    uppers = [limit for limit in (above.warning, above.critical) if limit is not None]
    lowers = [limit for limit in (below.warning, below.critical) if limit is not None]
    if uppers and lowers and min(uppers) <= max(lowers):
        said = _("No value is healthy: more than %(upper)s is broken by one, less than %(lower)s by the other:") % {
            "upper": quantity(min(uppers), threshold.metric.unit),
            "lower": quantity(max(lowers), threshold.metric.unit),
        }
        yield format_html("{} {}", said, admin_link(other))


def _nobody_told(threshold: Threshold, reach: Reach, now: datetime) -> Iterator[str]:
    """Groups of its servers in which nobody who is on call now can be mailed. Six queries."""
    groups = {server.group_id: server.group.name for server in reach.decided}
    if not groups:
        return
    roster = Roster.load(now)
    unheard = [name for pk, name in groups.items() if not any(one.address for one in roster.on_call(pk))]
    if unheard:
        yield _("Nobody on call can be mailed for: %(groups)s.") % {"groups": names(sorted(unheard))}


def _short_silence(threshold: Threshold, reach: Reach) -> Iterator[str]:
    """Servers whose samples come too seldom for its “no data”. One query."""
    after_s = threshold.no_data_after_s
    if after_s is None or not reach.decided:
        return
    every = intervals([server.pk for server in reach.decided])
    slow = [server for server in reach.decided if after_s < MISSED_INTERVALS * every[server.pk]]
    if slow:
        text = _("“No data” after %(time)s is less than three readings of: %(servers)s.")
        yield text % {"time": duration(after_s), "servers": names([server.name for server in slow])}


def too_short_for(threshold: Threshold, server: Server | None) -> int | None:
    """Three intervals of the one server that it is for, when its “no data” is shorter. One query at most."""
    after_s = threshold.no_data_after_s
    if threshold.scope != Scope.SERVER or server is None or after_s is None:
        return None
    least_s = MISSED_INTERVALS * intervals([server.pk])[server.pk]
    return least_s if after_s < least_s else None
