"""The simulated fleet: made once, generated every 5 s for all servers at once, marked as simulated everywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

import numpy as np
import structlog
from django.db import transaction

from monitoring.catalogue import BY_NAME
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.record import record
from monitoring.logs import record as logs
from monitoring.models import PROFILE_PARTS, Server, ServerGroup, ServerTemplate, Simulation
from monitoring.simulation.lines import fleet_lines
from monitoring.simulation.signal import Floats, values
from monitoring.simulation.templates import TEMPLATES, ensure_templates
from portal.toolkit import locks
from portal.toolkit.instants import from_ms

log = structlog.get_logger(__name__)

PERIOD_MS = 5_000
PHASE_MS = 2_500
"""The host collector reads at full 5 s. Between its readings a page has its one frame a second free for the fleet."""
CATCH_UP = timedelta(minutes=15)
"""A new fleet, and one after an outage, gets its past this far back; before that there is a gap."""
FRAMES_PER_RECORD = 10_000
OWN_NAME = r"^sim-.+-[0-9]{2,}$"
_LOCK = 0x6F6D_0002

Fleet = list[tuple[ServerTemplate, list[int]]]
"""Server ids by template."""


def ensure_fleet(size: int, group: ServerGroup) -> None:
    """Make the simulated fleet have `size` servers: the same ones each time, the last ones leave first.

    Simulated servers that somebody added under another name stay.
    """
    Simulation.objects.get_or_create(pk=1)
    templates = ensure_templates()
    names = dict(_names(size))
    with transaction.atomic():
        Server.objects.filter(template__isnull=False, name__regex=OWN_NAME).exclude(name__in=names).delete()
        known = set(Server.objects.filter(name__in=names).values_list("name", flat=True))
        Server.objects.bulk_create(
            Server(name=name, kind=templates[template].kind, template=templates[template], group=group)
            for name, template in names.items()
            if name not in known
        )


def _names(size: int) -> Iterator[tuple[str, str]]:
    """(server name, template name) of a fleet: every 30 servers have each template's share."""
    order = [template.name for template in TEMPLATES for _ in range(template.share)]
    # Spread, so that a fleet of three is not three web servers.
    order = [order[i * 11 % len(order)] for i in range(len(order))]
    made: dict[str, int] = defaultdict(int)
    for number in range(size):
        template = order[number % len(order)]
        made[template] += 1
        yield f"sim-{template}-{made[template]:02d}", template


def simulate_due(now: datetime) -> int:
    """Generate every 5 s instant that is due. Returns how many instants were recorded.

    May run at any time, any number of times: what was generated is kept in the database, a second generator beside
    this one leaves at once, and generating an instant again changes nothing.
    """
    with locks.alone(_LOCK) as alone:
        if not alone:
            return 0
        simulation, _ = Simulation.objects.get_or_create(pk=1)
        instants = _due_instants(simulation.generated_until, now)
        if simulation.paused:
            if instants:  # what was paused stays a gap
                Simulation.objects.update(generated_until=from_ms(instants[-1]))
            return 0
        fleet = _fleet() if instants else []
        at_once = max(1, FRAMES_PER_RECORD // max(1, sum(len(ids) for _, ids in fleet)))
        for start in range(0, len(instants), at_once):
            some = instants[start : start + at_once]
            frames = [frame for at_ms in some for frame in fleet_frames(fleet, at_ms)]
            record(frames, origin="simulation")
            _record_lines(fleet, frames)
            Simulation.objects.update(generated_until=from_ms(some[-1]))
        return len(instants)


def _record_lines(fleet: Fleet, frames: Iterable[Frame]) -> None:
    templates = {server_id: template for template, server_ids in fleet for server_id in server_ids}
    logs.record(fleet_lines((templates[frame.server_id], frame) for frame in frames), origin="simulation")


def _due_instants(generated_until: datetime | None, now: datetime) -> range:
    last = _instant_before(now)
    earliest = last - int(CATCH_UP.total_seconds() * 1000)
    first = 0 if generated_until is None else _instant_before(generated_until) + PERIOD_MS
    if first > last + PERIOD_MS:  # the clock was set back
        first = last
    return range(max(first, earliest), last + 1, PERIOD_MS)


def _instant_before(at: datetime) -> int:
    """The newest instant of the fleet's grid that is not after `at`, in epoch ms."""
    return (int(at.timestamp() * 1000) - PHASE_MS) // PERIOD_MS * PERIOD_MS + PHASE_MS


def _fleet() -> Fleet:
    """The simulated servers that are not paused; two queries."""
    by_template: dict[int, list[int]] = defaultdict(list)
    rows = Server.objects.filter(template__isnull=False, paused=False).order_by("pk").values_list("template_id", "pk")
    for template_id, server_id in rows:
        by_template[template_id].append(server_id)
    return [(template, by_template[template.pk]) for template in ServerTemplate.objects.filter(pk__in=by_template)]


def fleet_frames(fleet: Fleet, at_ms: int) -> Iterator[Frame]:
    """One frame of each server of the fleet, at one instant."""
    for template, server_ids in fleet:
        yield from _template_frames(template, server_ids, at_ms)


def _template_frames(template: ServerTemplate, server_ids: list[int], at_ms: int) -> Iterable[Frame]:
    metrics = list(template.profile)
    layout = tuple(SeriesName(metric) for metric in metrics)
    profile = np.array([[template.profile[m][part] for part in PROFILE_PARTS] for m in metrics])
    matrix = _in_range(values(profile, np.array(server_ids, dtype=np.uint64), at_ms / 1000), metrics)
    return (Frame(server_id, at_ms, layout, row) for server_id, row in zip(server_ids, matrix, strict=True))


def _in_range(matrix: Floats, metrics: list[str]) -> Floats:
    """Within each metric's range, rounded to its resolution."""
    known = [BY_NAME[metric] for metric in metrics]
    low = np.array([-np.inf if metric.minimum is None else metric.minimum for metric in known])
    high = np.array([np.inf if metric.maximum is None else metric.maximum for metric in known])
    digits = np.array([metric.resolution for metric in known])
    rounded: Floats = np.round(np.clip(matrix, low, high) / digits) * digits
    return rounded
