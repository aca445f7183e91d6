"""The words of simulated servers. A text is a function of a scene; names, addresses and numbers in it are made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import NamedTuple

from monitoring.logs.line import Level


class Said(NamedTuple):
    source: str
    level: Level
    text: str
    fields: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Scene:
    """When and where a line is written, and how things stand there: `heats` by metric, from 0 (as usual) to 1."""

    server_id: int
    at_ns: int
    random: Random
    reading: Mapping[str, float]
    heats: Mapping[str, float]

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.at_ns // 1000 / 1e6, UTC)

    def heat(self, metric: str) -> float:
        return self.heats.get(metric, 0.0)

    def value(self, metric: str, otherwise: float) -> float:
        return self.reading.get(metric, otherwise)

    def level(self, metric: str) -> Level:
        """Of a trouble with the metric."""
        return Level.ERROR if self.heat(metric) > 0.5 else Level.WARNING

    def pid(self) -> int:
        """Processes of a server live for a while."""
        return 400 + (self.server_id * 7919 + self.at_ns // 3_600_000_000_000 * 31 + self.random.randrange(6)) % 31_000

    def address(self) -> str:
        """Of the networks that are kept for examples."""
        return f"{self.random.choice(('192.0.2', '198.51.100', '203.0.113'))}.{self.random.randrange(1, 255)}"

    def inner_address(self) -> str:
        return f"10.20.{self.random.randrange(4)}.{self.random.randrange(2, 250)}"

    def trace(self) -> str:
        return f"{self.random.getrandbits(64):016x}"


MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
