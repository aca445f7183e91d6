"""Servers that record samples at instants of the test's choosing, and thresholds that judge them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from alerts.models import Condition, Problem, Threshold
from alerts.rules import patience, rulebook
from alerts.rules.run import evaluate_due, sweep
from monitoring import hot
from monitoring.history import partitions, series
from monitoring.history.frame import Frame, SeriesName, canonical_labels
from monitoring.history.record import record
from monitoring.models import Batch, Metric, Server, ServerGroup
from portal.toolkit.redis import client


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests roll back what they made, so what this process remembers of it must go too."""
    partitions.forget()
    series._plans.clear()
    hot._shapes.clear()
    patience._failures.clear()
    monkeypatch.setattr(rulebook, "_kept", None)


@pytest.fixture
def empty_redis() -> Iterator[None]:
    client().flushdb()
    yield
    client().flushdb()


@dataclass
class Scene:
    """`start` is an instant a while ago; seconds count from it. Nothing is watched but by the thresholds made here."""

    start: datetime
    group: ServerGroup
    servers: dict[str, Server] = field(default_factory=dict)

    def at(self, second: float) -> datetime:
        return self.start + timedelta(seconds=second)

    def server(self, name: str = "alpha", **fields: object) -> Server:
        if name not in self.servers:
            self.servers[name] = Server.objects.create(**{"name": name, "group": self.group, **fields})
        return self.servers[name]

    def threshold(self, metric: str = "cpu", **fields: object) -> Threshold:
        known, _ = Metric.objects.get_or_create(name=metric)
        return Threshold.objects.create(metric=known, **fields)

    def sample(
        self, second: float, value: float | Mapping[str, float], server: str = "alpha", arrived: float | None = None
    ) -> Batch:
        """Record a CPU, or several metrics, taken at that second; it arrives at once or at the second `arrived`."""
        values = value if isinstance(value, Mapping) else {"cpu": value}
        return self.frames([(second, server, values)], second if arrived is None else arrived)

    def frames(self, frames: list[tuple[float, str, Mapping[str | SeriesName, float]]], arrived: float) -> Batch:
        made = [Frame.of(self.server(name).pk, _ms(self.at(second)), values) for second, name, values in frames]
        with time_machine.travel(self.at(arrived), tick=False):
            batch_id = record(made, origin="test").batch_id
        Batch.objects.filter(pk=batch_id).update(recorded_at=self.at(arrived))
        return Batch.objects.get(pk=batch_id)

    def evaluate(self, second: float) -> int:
        return evaluate_due(self.at(second))

    def judge(self, second: float, value: float | Mapping[str, float], server: str = "alpha") -> None:
        """Record it and evaluate."""
        self.sample(second, value, server)
        self.evaluate(second)

    def sweep(self, second: float) -> None:
        sweep(self.at(second))

    def problems(self) -> list[tuple[str, str, str, str]]:
        """(server, series, condition, level or pending) of what is open."""
        found = (
            Problem.objects.filter(resolved_at=None).select_related("server").order_by("server__name", "metric", "pk")
        )
        return [
            (
                one.server.name,
                one.metric + one.labels,
                one.condition,
                one.level if one.status == "firing" else one.status,
            )
            for one in found
            if one.server is not None
        ]

    def ended(self) -> list[tuple[str, str, str]]:
        """(server, condition, why) of what is over."""
        found = Problem.objects.exclude(resolved_at=None).select_related("server").order_by("pk")
        return [(one.server.name, one.condition, one.ended_because) for one in found if one.server is not None]

    def state(self, server: str = "alpha") -> str:
        return Server.objects.get(pk=self.servers[server].pk).state


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def labelled(metric: str, **labels: str) -> SeriesName:
    return SeriesName(metric, canonical_labels(labels))


ABOVE, BELOW, NO_DATA = Condition.ABOVE, Condition.BELOW, Condition.NO_DATA
MakeScene = Callable[[], Scene]


@pytest.fixture
def scene(db: None, empty_redis: None) -> Scene:
    Threshold.objects.all().delete()
    start = timezone.now().replace(microsecond=0) - timedelta(hours=2)
    return Scene(start, ServerGroup.objects.create(name="Machines"))


@pytest.fixture
def committed(transactional_db: None, empty_redis: None) -> Scene:
    """The same for tests in which others must see what is written."""
    Threshold.objects.all().delete()
    start = timezone.now().replace(microsecond=0) - timedelta(hours=2)
    return Scene(start, ServerGroup.objects.create(name="Machines"))
