"""The state of servers: the only writer of `Server.state…`, and the sweep that tells fresh from silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Case, Count, F, Max, Min, Q, When
from django.db.models.functions import Greatest, Least
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from monitoring import hot
from monitoring.history.read import newest_instants
from monitoring.models import Server, ServerState, Simulation
from portal.toolkit.instants import from_ms
from portal.toolkit.live.touch import touch
from portal.toolkit.sentence import sentence

SIMULATION_INTERVAL_S = 5
SILENT_AFTER_INTERVALS = 3
SILENT_AFTER_AT_LEAST_S = 20
DEFAULT_INTERVAL_S = 60
KEEP_SEEN_EVERY = timedelta(minutes=1)
AWAY_AFTER = timedelta(seconds=30)
"""A sweep that comes later than that after the one before: the portal was away, and what was sent to it was not taken.
"""

# Reasons are stored sentences: kept in English, said in the language of whoever looks.
NEVER_SEEN = _("No data has arrived yet.")
SILENT = _("No data arrives any more.")
PAUSED = _("Paused by an admin.")
SOURCES_PAUSED = _("All its sources are paused.")
FINDER_PAUSED = _("Paused with %(server)s, where it was found.")
FINDER_FAILS = _("%(server)s, where it was found, cannot be asked.")
WAITING = _("Waiting for data.")
GONE = _("Its source does not find it any more.")

FINDER_FAILS_AFTER = 3
"""Failures in a row. That a cluster cannot be asked is told once, of the cluster, and not of each of its pods."""

NOT_FRESH = (ServerState.UNKNOWN, ServerState.OFFLINE, ServerState.PAUSED)


@dataclass(frozen=True, slots=True)
class Change:
    """A server's new state; `reason` is a stored sentence (portal.toolkit.sentence); `seen_at` when known.

    With `was` it is only written while the server is still in that state.
    """

    state: ServerState
    reason: str = ""
    seen_at: datetime | None = None
    was: ServerState | None = None


def set_states(changes: Mapping[int, Change], at: datetime) -> list[int]:
    """Write the states that differ from what is stored, and tell the pages after the commit.

    Returns the ids of the servers that changed. One query; may run inside the caller's transaction.
    """
    if not changes:
        return []
    ids = sorted(changes)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH new AS (
                SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::text[])
                    AS new(id, state, reason, seen_at, was)
            ), locked AS (
                -- In order of id, so that two writers do not wait for each other in a circle.
                SELECT id FROM monitoring_server WHERE id IN (SELECT id FROM new) ORDER BY id FOR NO KEY UPDATE
            )
            UPDATE monitoring_server server SET state = new.state, state_reason = new.reason,
                state_since = CASE WHEN server.state = new.state THEN server.state_since ELSE %s END,
                seen_at = coalesce(new.seen_at, server.seen_at)
            FROM new JOIN locked USING (id)
            WHERE server.id = new.id AND server.state = coalesce(new.was, server.state)
                AND (server.state, server.state_reason) IS DISTINCT FROM (new.state, new.reason)
            RETURNING server.id
            """,
            [
                ids,
                [changes[i].state.value for i in ids],
                [changes[i].reason for i in ids],
                [changes[i].seen_at for i in ids],
                [was.value if (was := changes[i].was) else None for i in ids],
                at,
            ],
        )
        changed = [row[0] for row in cursor.fetchall()]
    if changed:
        transaction.on_commit(lambda: touch({"server": changed, "vitals": changed, "fleet": None}))
    return changed


def sweep(now: datetime | None = None) -> list[int]:
    """Tell fresh servers from silent, paused and never-seen ones. Returns the ids of those that changed.

    Warning and critical are not its business: a fresh server keeps them. May run at any time, any number of times.
    """
    now = now or timezone.now()
    servers = _watched()
    seen = _seen_at(servers, now)
    listening_since = _note_sweep(now)
    changes = {}
    for server in servers:
        seen_at = seen.get(server.pk)
        change = (
            Change(ServerState.PAUSED, server.paused, seen_at)
            if server.paused
            else _freshness(server, seen_at, now, listening_since)
        )
        if (change.state, change.reason) != (server.state, server.reason):
            changes[server.pk] = replace(change, was=server.state)
    _keep_seen(
        {server.pk: seen[server.pk] for server in servers if server.pk not in changes and _is_behind(server, seen)}
    )
    return set_states(changes, now)


_sweeps: tuple[datetime, datetime] | None = None
"""Since when this process has swept without a break, and its last sweep."""


def _note_sweep(now: datetime) -> datetime:
    """Since when somebody has been there to hear the servers that push."""
    global _sweeps
    unbroken = _sweeps is not None and abs(now - _sweeps[1]) <= AWAY_AFTER
    _sweeps = (_sweeps[0] if unbroken and _sweeps else now, now)
    return _sweeps[0]


def pauses() -> dict[int, str]:
    """Why each server that is paused is: by itself, with all its sources, or with the simulation; stored sentences.

    Two queries.
    """
    return {server.pk: server.paused for server in _watched() if server.paused}


def _seen_at(servers: Sequence[_Watched], now: datetime) -> dict[int, datetime]:
    """When the newest sample of each server that ever had one is of.

    Whom the hot layer calls silent is looked up in PostgreSQL: a Redis that takes no writes still answers with what it
    had, and one that was emptied may know nothing.
    """
    seen = {server.pk: server.seen_at for server in servers if server.seen_at}
    seen |= {pk: from_ms(at) for pk, at in hot.newest_at([server.pk for server in servers]).items()}
    silent = [server for server in servers if not server.paused and not _is_fresh(server, seen.get(server.pk), now)]
    if silent:
        since = now - max(server.silent_after for server in silent)
        seen |= {pk: from_ms(at) for pk, at in newest_instants([server.pk for server in silent], since, now).items()}
    return seen


def _is_fresh(server: _Watched, seen_at: datetime | None, now: datetime) -> bool:
    return seen_at is not None and now - seen_at <= server.silent_after


def _is_behind(server: _Watched, seen: Mapping[int, datetime]) -> bool:
    seen_at = seen.get(server.pk)
    return seen_at is not None and (server.seen_at is None or seen_at - server.seen_at >= KEEP_SEEN_EVERY)


def _keep_seen(seen: Mapping[int, datetime]) -> None:
    """Write down when the newest sample of each of these servers is of; no page needs to be told."""
    if not seen:
        return
    ids = sorted(seen)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE monitoring_server server SET seen_at = new.seen_at
            FROM unnest(%s::bigint[], %s::timestamptz[]) AS new(id, seen_at) WHERE server.id = new.id
            """,
            [ids, [seen[pk] for pk in ids]],
        )


@dataclass(frozen=True, slots=True)
class _Watched:
    """What the sweep knows of a server. `paused` is the reason, "" when it is not.

    `is_read`: we go and get its data, last tried at `tried_at`. `pushes`: it is known how often it sends by itself.
    """

    pk: int
    state: ServerState
    since: datetime
    reason: str
    seen_at: datetime | None
    paused: str
    interval_s: int
    is_read: bool
    pushes: bool
    tried_at: datetime | None

    @property
    def silent_after(self) -> timedelta:
        return timedelta(seconds=max(SILENT_AFTER_AT_LEAST_S, SILENT_AFTER_INTERVALS * self.interval_s))


def _watched() -> list[_Watched]:
    """Every server; two queries. What a source has found is read whenever that source is."""
    simulation = Simulation.objects.first() or Simulation()
    rows = Server.objects.annotate(
        interval_s=Least(
            Min("sources__interval_s", filter=Q(sources__paused=False)),
            Case(When(found_by__paused=False, then="found_by__interval_s")),
        ),
        failed_at=Greatest(Max("sources__error_at"), F("found_by__error_at")),
        read_at=Greatest(Max("sources__ok_at"), F("found_by__ok_at")),
        sources_in_all=Count("sources") + Case(When(found_by=None, then=0), default=1),
        finder=F("found_by__server__name"),
        finder_paused=F("found_by__server__paused"),
        finder_failures=F("found_by__failures"),
    ).values_list(
        "pk",
        "state",
        "state_since",
        "state_reason",
        "seen_at",
        "paused",
        "simulated",
        "interval_s",
        "failed_at",
        "read_at",
        "sources_in_all",
        "finder",
        "finder_paused",
        "finder_failures",
        "push_interval_s",
        "gone_at",
        named=True,
    )
    return [_of_row(row, simulation) for row in rows]


def _of_row(row: Any, simulation: Simulation) -> _Watched:
    """What one row of `_watched` says; a simulated server is read as the simulation is."""
    interval_s = row.interval_s
    tried_at = max((at for at in (row.failed_at, row.read_at) if at), default=None)
    if row.simulated:
        interval_s, tried_at = SIMULATION_INTERVAL_S, simulation.generated_until
    return _Watched(
        row.pk,
        ServerState(row.state),
        row.state_since,
        row.state_reason,
        row.seen_at,
        _pause_of(row, simulation, interval_s),
        min((s for s in (interval_s, row.push_interval_s) if s), default=DEFAULT_INTERVAL_S),
        interval_s is not None,
        row.push_interval_s is not None,
        tried_at,
    )


def _pause_of(row: Any, simulation: Simulation, interval_s: int | None) -> str:
    """Why the server of the row is paused, a stored sentence; "" when it is not. What an admin decided comes first."""
    if row.paused or (row.simulated and simulation.paused):
        return PAUSED
    if row.sources_in_all and interval_s is None and row.push_interval_s is None:
        return SOURCES_PAUSED
    if row.gone_at:
        return GONE
    if row.finder and row.sources_in_all == 1 and row.push_interval_s is None:
        return _with_its_finder(row.finder, row.finder_paused, row.finder_failures)
    return ""


def _with_its_finder(finder: str, is_paused: bool, failures: int) -> str:
    """Why a server is paused that nobody tells of but a source of the server `finder`; "" when it is not."""
    if is_paused:
        return sentence(FINDER_PAUSED, server=finder)
    return sentence(FINDER_FAILS, server=finder) if failures >= FINDER_FAILS_AFTER else ""


def _freshness(server: _Watched, seen_at: datetime | None, now: datetime, listening_since: datetime) -> Change:
    if seen_at is None:
        return Change(ServerState.UNKNOWN, NEVER_SEEN)
    if _is_fresh(server, seen_at, now):
        return Change(ServerState.HEALTHY, "", seen_at) if server.state in NOT_FRESH else _as_it_is(server)
    # After a pause, and after the portal itself was away, silence says nothing until somebody has asked again.
    if server.state == ServerState.PAUSED:
        return Change(ServerState.UNKNOWN, WAITING, seen_at)
    if server.is_read and (server.tried_at is None or server.tried_at <= seen_at):
        return _as_it_is(server)
    if server.pushes and now - listening_since <= server.silent_after:
        return _as_it_is(server)
    if server.state == ServerState.UNKNOWN and now - server.since <= server.silent_after:
        return _as_it_is(server)
    return Change(ServerState.OFFLINE, SILENT, seen_at)


def _as_it_is(server: _Watched) -> Change:
    return Change(server.state, server.reason)
