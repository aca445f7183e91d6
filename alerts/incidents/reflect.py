"""The state of a server follows its open problems."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import Q

from alerts.incidents.words import labels_of, wrong
from alerts.models import Condition, Level, Problem, ProblemStatus
from monitoring.models import Server, ServerState
from monitoring.states import NOT_FRESH, Change, set_states

STATES = {Level.CRITICAL: ServerState.CRITICAL, Level.WARNING: ServerState.WARNING}
ALARMED = tuple(STATES.values())


def reflect(server_ids: Collection[int], now: datetime, *, fresh: bool = True) -> list[int]:
    """Let the states of these servers say what fires; the ids of those that changed.

    `fresh` says that new samples of all of them were just evaluated: only then may a server leave offline or unknown,
    and never because data is missing. A paused server stays paused. Two queries when nothing has to change, which is
    nearly always; may run at any time, any number of times, in the caller's transaction.
    """
    problems = _firing(server_ids)
    # One array: a thousand ids as a thousand parameters take Django longer than PostgreSQL needs for the answer.
    servers = Server.objects.extra(where=["monitoring_server.id = ANY(%s)"], params=[list(server_ids)])
    servers = servers.exclude(state=ServerState.PAUSED).order_by("pk")
    alarmed = servers.filter(Q(state__in=ALARMED) | Q(pk__in=problems))
    states = list(alarmed.values_list("pk", "state", "state_reason"))
    if not states:
        return []
    labels = labels_of(problem for pk, _state, _reason in states for problem in problems.get(pk, [])[:1])
    changes = {}
    for pk, state, reason in states:
        change = _change(ServerState(state), problems.get(pk, []), labels, fresh)
        if change is not None and (change.state, change.reason) != (state, reason):
            changes[pk] = change
    return set_states(changes, now)


def _firing(server_ids: Collection[int]) -> dict[int, list[Problem]]:
    """What fires and has a say in the state, the worst and then the oldest first."""
    found: dict[int, list[Problem]] = {}
    of_servers = Problem.objects.extra(where=["alerts_problem.server_id = ANY(%s)"], params=[list(server_ids)])
    rows = of_servers.filter(resolved_at=None, status=ProblemStatus.FIRING, level__in=list(STATES))
    for problem in rows.order_by("level_rank", "fired_at", "pk"):
        assert problem.server_id is not None
        found.setdefault(problem.server_id, []).append(problem)
    return found


def _change(state: ServerState, problems: list[Problem], labels: dict[str, str], fresh: bool) -> Change | None:
    """The state that `problems` ask for; None when they have no say in it."""
    if state in NOT_FRESH:
        problems = [problem for problem in problems if fresh and problem.condition != Condition.NO_DATA]
        if not problems:
            return None
    if not problems:
        return Change(ServerState.HEALTHY, "", was=state)
    worst = problems[0]
    return Change(STATES[Level(worst.level)], wrong(worst, labels, len(problems) - 1), was=state)
