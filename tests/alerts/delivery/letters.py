"""Incidents as they are when a mail about them waits in the outbox."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from alerts.models import (
    Condition,
    Delivery,
    DeliveryKind,
    Incident,
    IncidentStatus,
    Level,
    Problem,
    ProblemStatus,
    Threshold,
)
from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Metric, Series, Server, ServerGroup

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def incident(server: Server | None = None, **changed: Any) -> Incident:
    """One that fires as critical since a minute, still without a problem."""
    server = server or a_server()
    fields = {
        "server": server,
        "server_name": server.name,
        "group": server.group,
        "status": IncidentStatus.FIRING,
        "level": Level.CRITICAL,
        "peak_level": Level.CRITICAL,
        "began_at": NOW - timedelta(minutes=1),
        "fired_at": NOW,
    }
    return Incident.objects.create(**fields | changed)


def a_server(name: str = "web-1", group: str = "Web shop") -> Server:
    return Server.objects.create(name=name, group=ServerGroup.objects.get_or_create(name=group)[0])


def problem(of: Incident, metric: str = "cpu", labels: str = "", **changed: Any) -> Problem:
    """CPU at 97.2 % with a limit of 85 %, unless `changed`."""
    row = Metric.objects.get(name=metric)
    series = None
    if of.server is not None:
        slot = Series.objects.filter(server=of.server).count()
        named = {"server": of.server, "metric": row, "labels": labels}
        series = Series.objects.get_or_create(**named, defaults={"block": 0, "slot": slot})[0]
    fields = {
        "server": of.server,
        "series": series,
        "threshold": Threshold.objects.filter(metric=row, scope="all").first(),
        "condition": Condition.ABOVE,
        "labels": labels,
        "metric": metric,
        "unit": row.unit,
        "status": ProblemStatus.FIRING,
        "level": of.level,
        "began_at": of.began_at,
        "fired_at": of.fired_at,
        "value": 97.2,
        "limit": 85.0,
        "peak": 97.2,
        "last_value": 97.2,
    }
    return Problem.objects.create(incident=of, **fields | changed)


def delivery(of: Incident, person: Any, kind: DeliveryKind = DeliveryKind.FIRED, **changed: Any) -> Delivery:
    fields = {
        "person": person,
        "person_name": person.username,
        "address": person.email,
        "kind": kind,
        "level": of.peak_level,
        "key": f"{of.pk}-{person.pk}-{kind}-{of.peak_level}",
        "created_at": NOW,
        "next_attempt_at": NOW,
    }
    return Delivery.objects.create(incident=of, **fields | changed)


def an_hour_of_samples(server: Server, end: datetime, value: float = 97.2, metric: str = "cpu") -> None:
    """One each 5 s that swings around 50, and at `value` for the last minute. Outside of any transaction."""
    last_ms = int(end.timestamp() * 1000)
    record(
        [
            Frame.of(
                server.pk,
                last_ms - back * 5000,
                {metric: value if back < 12 else 50 + 20 * math.sin(back / 40) + back % 7},
            )
            for back in range(720)
        ],
        origin="test",
    )
