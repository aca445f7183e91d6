"""What tests of alerts are made of: servers with series, thresholds, people on call, observations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import count

from django.db import transaction

from alerts import incidents
from alerts.models import (
    Condition,
    Delivery,
    DeliveryKind,
    DeliveryStatus,
    Direction,
    Entry,
    Incident,
    Rota,
    RotaMember,
    Rotation,
    Scope,
    Threshold,
)
from alerts.rules.observation import Observation, Phase
from monitoring.models import Metric, Role, Series, Server, ServerGroup, ServerState
from portal.accounts.models import User
from tests.cast import member

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
"""A Tuesday."""
_slots = count()


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def make_server(name: str, group: ServerGroup, state: ServerState = ServerState.HEALTHY, **fields: object) -> Server:
    return Server.objects.create(**{"name": name, "group": group, "state": state, **fields})


def make_series(server: Server, metric: str = "cpu", labels: str = "") -> Series:
    number = next(_slots)
    return Series.objects.create(
        server=server, metric=make_metric(metric), labels=labels, block=number // 64, slot=number % 64
    )


def make_many_series(server: Server, count: int) -> list[Series]:
    """Series of one metric, told apart by a label."""
    metric = make_metric("cpu")
    rows = [
        Series(
            server=server, metric=metric, labels=f'{{"core":"{number}"}}', block=1000 + number // 64, slot=number % 64
        )
        for number in range(count)
    ]
    return Series.objects.bulk_create(rows)


def make_metric(name: str) -> Metric:
    return Metric.objects.get_or_create(name=name, defaults={"label": name.upper(), "unit": "%"})[0]


def make_threshold(metric: str = "cpu", *, critical: float | None = 85.0, **fields: object) -> Threshold:
    """Of all servers and above, when nothing else is said; takes the place of one that is there."""
    place = {
        "metric": make_metric(metric),
        "direction": fields.pop("direction", Direction.ABOVE),
        "scope": fields.pop("scope", Scope.ALL),
        **{name: fields.pop(name) for name in ("kind", "group", "server") if name in fields},
    }
    return Threshold.objects.update_or_create(**place, defaults={"critical": critical, **fields})[0]


def make_rota(group: ServerGroup | None, *people: User, **fields: object) -> Rota:
    rota = Rota.objects.create(
        **{"group": group, "rotation": Rotation.EVERYONE, "starts_on": date(2026, 3, 2), **fields}
    )
    for position, person in enumerate(people):
        RotaMember.objects.create(rota=rota, person=person, position=position)
    rota.refresh_from_db()
    return rota


def make_person(name: str, group: ServerGroup, **fields: object) -> User:
    """An operator of `group` with a verified address."""
    person = member(name, group, Role.OPERATOR)
    for field, value in fields.items():
        setattr(person, field, value)
    person.save(update_fields=list(fields))
    return person


def observe(
    series: Series, phase: Phase, when: datetime = NOW, value: float | None = 97.2, **more: object
) -> Observation:
    """What the evaluator would say of `series`, above 85 when nothing else is said."""
    beyond = None if phase == Phase.FINE else when
    critical = phase == Phase.CRITICAL or more.pop("critical", False)
    said: dict[str, object] = {
        "condition": Condition.ABOVE,
        "threshold_id": None,
        "limit": 85.0,
        "peak": value,
        "began_at": beyond,
        "warning_since": beyond,
        "critical_since": beyond if critical else None,
        "warning_held": phase >= Phase.WARNING,
        "critical_held": phase == Phase.CRITICAL,
    }
    return Observation(
        server_id=series.server_id,
        series_id=series.pk,
        metric=series.metric.name,
        labels=series.labels,
        unit="%",
        phase=phase,
        at=when,
        value=value,
        **{**said, **more},  # type: ignore[arg-type]
    )


def apply(*observations: Observation, now: datetime | None = None) -> None:
    """As the engine does it: one transaction, states included."""
    now = now or max(one.at for one in observations)
    with transaction.atomic():
        incidents.apply(observations, now)
        incidents.reflect(sorted({one.server_id for one in observations}), now)


def critical_incident(server: Server, began_at: datetime, **fields: object) -> Incident:
    """As a row alone: no problem, no time line, no mail."""
    about = {"server": server, "server_name": server.name, "group": server.group, "began_at": began_at}
    return Incident.objects.create(
        **{**about, "status": "firing", "level": "critical", "peak_level": "critical", **fields}
    )


def open_incident(server: Server) -> Incident:
    return Incident.objects.get(server=server, resolved_at=None)


def whats(incident: Incident) -> list[str]:
    """The time line in words."""
    return list(Entry.objects.filter(incident=incident).order_by("pk").values_list("what", flat=True))


def mails(incident: Incident | None = None) -> list[tuple[str, str, str]]:
    """(whose, kind, level) in the order in which they were queued."""
    rows: Sequence[Delivery] = Delivery.objects.order_by("pk")
    if incident is not None:
        rows = [row for row in rows if row.incident_id == incident.pk]
    return [(row.person_name, row.kind, row.level) for row in rows]


def mark(status: DeliveryStatus, *, person: User | None = None, kind: DeliveryKind | None = None) -> list[Delivery]:
    """As the drainer would leave what is queued."""
    rows = Delivery.objects.filter(status=DeliveryStatus.QUEUED)
    rows = rows.filter(person=person) if person else rows
    rows = rows.filter(kind=kind) if kind else rows
    found = list(rows)
    for row in found:
        row.status = status
        row.save(update_fields=["status"])
    return found


def level_of(server: Server) -> str:
    return Server.objects.values_list("state", flat=True).get(pk=server.pk)
