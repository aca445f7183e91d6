"""What programs hear of servers as it changes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from monitoring.hot_table import HEADLINE, newest_of_metrics
from monitoring.models import Server, ServerState
from monitoring.queries.fleet import NOT_MEASURING, fleet_counts
from portal.toolkit.any_of import AnyOf
from portal.toolkit.instants import at_ms, from_ms, iso

UNWELL = (ServerState.CRITICAL, ServerState.OFFLINE, ServerState.WARNING)
"""The states that decide how all of them do, the worst first."""


def server_updates(server_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Each server that still exists: shares in %, network in KB/s in and out together, None where not known.

    One query, one Redis round trip.
    """
    servers = Server.objects.filter(AnyOf("pk", server_ids)).order_by()
    rows = list(servers.values_list("pk", "name", "state", "simulated", "seen_at"))
    table = newest_of_metrics([row[0] for row in rows], HEADLINE)
    updates = {}
    for row, newest_ms, values in zip(rows, table.at_ms.tolist(), table.values.tolist(), strict=True):
        pk, name, state, simulated, seen_at = row
        cpu, memory, disk, *network = [round(value, 3) if isfinite(value) else None for value in values]
        flows = [value for value in network if value is not None]
        stamp = max(newest_ms, at_ms(seen_at) or 0)
        updates[pk] = {
            "id": str(pk),
            "name": name,
            "status": state,
            "simulated": simulated,
            "cpu": cpu,
            "memory": memory,
            "disk": disk,
            "network": round(sum(flows), 3) if flows else None,
            "at": iso(from_ms(stamp)) if stamp else None,
        }
    return updates


def system_update(audience: str) -> dict[str, Any]:
    """How many servers are in which state, and how all of them do: the worst that any is. One query."""
    counts = fleet_counts(audience)
    states = {state.value: counts.by_state.get(state.value, 0) for state in ServerState}
    unwell = next((state.value for state in UNWELL if states[state.value]), None)
    return {
        "health": unwell or (ServerState.HEALTHY.value if states[ServerState.HEALTHY.value] else "unknown"),
        "servers": counts.servers,
        "measuring": counts.servers - sum(states[state.value] for state in NOT_MEASURING),
        "states": states,
    }
