"""The shapes of answers, for the description of the API; the answers themselves are written without them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ninja import Field, Schema

from monitoring.models import ServerState

State = Literal["critical", "offline", "warning", "unknown", "paused", "healthy"]
assert set(State.__args__) == set(ServerState.values)  # type: ignore[attr-defined]


def number(unit: str) -> Any:
    """A number that may be unknown."""
    return Field(description=f"{unit}; null: not known")


class RefreshQuery(Schema):
    refresh: bool = Field(False, description="1: not from memory; at most one new answer a second is made")


class ErrorOut(Schema):
    error: str = Field(description="A word for programs", examples=["not_found"])
    message: str = Field(description="A sentence for people", examples=["There is no such server."])
    timestamp: datetime
    parameter: str | None = Field(None, description="Which one is wrong, where one is")


class AnswerOut(Schema):
    timestamp: datetime = Field(description="When what is said here was read")
    cached: bool = Field(description="It was read for somebody else, up to half a minute ago; `Age` says when")


ERRORS: dict[Any, Any] = {400: ErrorOut, 401: ErrorOut, 503: ErrorOut}
"""What every operation may answer instead."""


class DashboardMetricsOut(Schema):
    cpu: float | None = number("%")
    memory: float | None = number("%")
    disk: float | None = number("%")
    network: float | None = number("KB/s, in and out together")


class DashboardServerOut(Schema):
    id: str = Field(description="What `serverId` takes")
    name: str
    status: State
    simulated: bool = Field(description="Its numbers are generated")
    metrics: DashboardMetricsOut
    last_updated: datetime | None = Field(
        alias="lastUpdated", description="The instant of its newest sample; null: it never had one"
    )


class DashboardOut(AnswerOut):
    servers: list[DashboardServerOut] = Field(description="Worst first")
    total: int
    message: str | None = Field(None, description="Only where there are none: why")


class CpuOut(Schema):
    usage: float | None = number("%")
    cores: float | None = number("How many")


class SpaceOut(Schema):
    total: float | None = number("MB")
    used: float | None = number("MB")
    usage: float | None = number("%")


class ConnectionsOut(Schema):
    rx: float | None = number("KB/s")
    tx: float | None = number("KB/s")
    connections: float | None = number("How many")


class ServerOut(Schema):
    id: str
    name: str
    status: State
    cpu: CpuOut
    memory: SpaceOut
    disk: SpaceOut
    network: ConnectionsOut
    uptime: float | None = number("s")
    last_checked: datetime | None = Field(
        alias="lastChecked", description="The instant of its newest sample; null: it never had one"
    )


class ServersOut(AnswerOut):
    servers: list[ServerOut]
    message: str | None = Field(None, description="Only where there are none: why")


class TrafficOut(Schema):
    rx: float | None = number("KB/s")
    tx: float | None = number("KB/s")


class MomentOut(Schema):
    timestamp: datetime = Field(description="The instant of the samples, or the start of the step")
    cpu: float | None = Field(None, description="%")
    memory: float | None = Field(None, description="%")
    disk: float | None = Field(None, description="%")
    network: TrafficOut | None = Field(None, description="Only where it was asked for")


class PerformanceOut(AnswerOut):
    server_id: str = Field(alias="serverId")
    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")
    step: int = Field(description="Seconds that one entry stands for, as their mean; 0: the samples as they are")
    metrics: list[MomentOut] = Field(description="Oldest first; what had no sample is left out")
