"""What thresholds and silences cover, who is beaten by whom, and what that does right now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from django.db import connection
from django.db.models import Count, Q, QuerySet

from alerts.models import Problem, ProblemStatus, Scope, Silence, Threshold
from alerts.rules.scope import WIDEST_FIRST, covers, winners
from monitoring.models import Server, ServerGroup
from monitoring.queries.newest import Reading, newest_of

Scoped = TypeVar("Scoped", Threshold, Silence)

WORST_SHOWN = 8
LOOKED_AT = 2_000
"""Of how many servers the newest values are read at the most, for one page."""


def servers_of(scoped: Threshold | Silence) -> QuerySet[Server]:
    """The servers in its scope."""
    if scoped.scope == Scope.ALL:
        return Server.objects.all()
    if scoped.scope == Scope.KIND:
        return Server.objects.filter(kind=scoped.kind)
    if scoped.scope == Scope.GROUP:
        return Server.objects.filter(group_id=scoped.group_id)
    assert scoped.server_id is not None  # (a constraint of the table)
    return Server.objects.filter(pk=scoped.server_id)


def as_kept(row: Scoped) -> Scoped:
    """The row as it is in the database, read once a page.

    A form that was refused has left its values in the object at hand, a page of history shows older ones.
    """
    known: Scoped | None = row.__dict__.get("_kept")
    if known is None:
        rows = type(row)._default_manager.select_related("metric", "group", "server")
        known = row.__dict__["_kept"] = rows.filter(pk=row.pk).first() or row
    return known


@dataclass
class Beaten:
    """A narrower threshold that wins for some of the servers."""

    by: Threshold
    servers: list[Server] = field(default_factory=list)


@dataclass
class Reach:
    """Of one threshold. `measuring` of the `covered` servers have the metric; for `decided` of them it is the rule.

    `wider` are those that it beats where it counts, widest first.
    """

    covered: int
    measuring: list[Server]
    decided: list[Server]
    beaten: list[Beaten]
    wider: list[Threshold]


def reach_of(threshold: Threshold) -> Reach:
    """Three queries, however many servers and thresholds. A disabled one is looked at as if it were enabled."""
    same = Threshold.objects.filter(metric=threshold.metric_id, direction=threshold.direction, enabled=True)
    rivals = list(same.exclude(pk=threshold.pk).select_related("metric", "group", "server"))
    own = servers_of(threshold)
    with_metric = own.filter(series__metric=threshold.metric_id).distinct().select_related("group")
    measuring = list(with_metric.order_by("name"))
    decided, beaten = _decide(threshold, rivals, measuring)
    rank = _rank(threshold)
    wider = [one for one in rivals if _rank(one) < rank and any(covers(one, server) for server in decided)]
    wider.sort(key=_rank)
    return Reach(own.count(), measuring, decided, beaten, wider)


def _decide(
    threshold: Threshold, rivals: Sequence[Threshold], measuring: Sequence[Server]
) -> tuple[list[Server], list[Beaten]]:
    was, threshold.enabled = threshold.enabled, True
    decided, beaten = [], {one.pk: Beaten(one) for one in rivals}
    for server in measuring:
        winner = winners([*rivals, threshold], server).get((threshold.metric_id, threshold.direction))
        if winner is None or winner is threshold:
            decided.append(server)
        else:
            beaten[winner.pk].servers.append(server)
    threshold.enabled = was
    return decided, [one for one in beaten.values() if one.servers]


def _rank(threshold: Threshold) -> int:
    return WIDEST_FIRST.index(Scope(threshold.scope))


def worst_values(threshold: Threshold, servers: Sequence[Server]) -> list[tuple[Server, Reading]]:
    """The newest values of the first LOOKED_AT `servers`, worst first. One Redis round trip."""
    by_id = {server.pk: server for server in servers[:LOOKED_AT]}
    readings = newest_of(threshold.metric.name, list(by_id))
    readings.sort(key=lambda one: one.value, reverse=threshold.is_above)
    return [(by_id[one.server_id], one) for one in readings[:WORST_SHOWN]]


def decided_series(thresholds: Sequence[Threshold]) -> dict[int, int]:
    """For each enabled threshold that is the rule of at least one series: of how many. One query.

    The same choice as `rules.scope.winners`, made in the database: a list of thresholds would else read every server.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, count(*) FROM (
                SELECT DISTINCT ON (series.id, rule.direction) rule.id
                FROM alerts_threshold rule
                JOIN monitoring_series series ON series.metric_id = rule.metric_id
                JOIN monitoring_server server ON server.id = series.server_id
                WHERE rule.enabled AND rule.metric_id = ANY(%s) AND (
                    rule.scope = 'all' OR rule.kind = server.kind
                    OR rule.group_id = server.group_id OR rule.server_id = server.id
                )
                ORDER BY series.id, rule.direction, array_position(%s::text[], rule.scope::text) DESC
            ) winner GROUP BY id
            """,
            [sorted({one.metric_id for one in thresholds}), [scope.value for scope in WIDEST_FIRST]],
        )
        return dict(cursor.fetchall())


def firing_problems(thresholds: Sequence[Threshold]) -> dict[int, int]:
    """For each threshold with problems that fire: how many. One query."""
    firing = Problem.objects.filter(
        threshold__in=[one.pk for one in thresholds], resolved_at=None, status=ProblemStatus.FIRING
    )
    counted = firing.order_by().values_list("threshold").annotate(Count("pk"))
    found: dict[int, int] = defaultdict(int)
    found.update(counted)
    return found


def groups_without_rota() -> list[str]:
    """The names of groups that have servers and no rota of their own. One query."""
    lonely = ServerGroup.objects.filter(Q(rota=None), servers__isnull=False).distinct()
    return list(lonely.order_by("name").values_list("name", flat=True))
