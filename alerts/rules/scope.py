"""Which servers a threshold or a silence is for, and which of several thresholds wins."""

from __future__ import annotations

from collections.abc import Iterable

from alerts.models import Scope, Silence, Threshold
from monitoring.models import Server

WIDEST_FIRST = list(Scope)


def covers(scoped: Threshold | Silence, server: Server) -> bool:
    """Whether `server` is in its scope."""
    if scoped.scope == Scope.KIND:
        return scoped.kind == server.kind
    if scoped.scope == Scope.GROUP:
        return scoped.group_id == server.group_id
    return scoped.scope == Scope.ALL or scoped.server_id == server.pk


def winners(thresholds: Iterable[Threshold], server: Server) -> dict[tuple[int, str], Threshold]:
    """For each (metric id, direction) the narrowest enabled threshold that covers `server`."""
    covering = [one for one in thresholds if one.enabled and covers(one, server)]
    covering.sort(key=lambda one: WIDEST_FIRST.index(Scope(one.scope)))
    return {(one.metric_id, one.direction): one for one in covering}
