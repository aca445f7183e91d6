"""From counters to increases and rates: what each counter of a source was at its last run, remembered in Redis."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog

from monitoring.models import Source
from portal.toolkit import redis

log = structlog.get_logger(__name__)

MEMORY_S = 3600
NAN = math.nan


@dataclass
class Counters:
    """The counters of one source in one run at `at_ms`. Without memory every increase is unknown: one gap, and never a
    wrong value, because a remembered value is always kept together with its instant, and of one address."""

    source_id: int
    url: str
    at_ms: int
    seconds: float = NAN
    before: dict[str, float] = field(default_factory=dict)
    now: dict[str, float] = field(default_factory=dict)

    @classmethod
    def recall(cls, source: Source, at_ms: int) -> Counters:
        """With what the last run remembered; empty when that is over an hour old, gone, or of the future."""
        counters = cls(source.pk, source.url, at_ms)
        try:
            with redis.breaker:
                kept = redis.client().get(counters._key)
        except redis.AWAY as error:
            log.warning("counter_memory_away", source=source.pk, error=str(error))
            return counters
        if isinstance(kept, bytes):
            then_ms, before = json.loads(kept)
            seconds = (at_ms - then_ms) / 1000
            if 0 < seconds <= MEMORY_S:
                counters.seconds, counters.before = seconds, before
        return counters

    @property
    def _key(self) -> str:
        return f"counters:{self.source_id}:{self.url}"

    def keep(self) -> None:
        """Remember this run for the next one."""
        try:
            with redis.breaker:
                redis.client().set(self._key, json.dumps([self.at_ms, self.now]), ex=MEMORY_S)
        except redis.AWAY as error:
            log.warning("counter_memory_away", source=self.source_id, error=str(error))

    def increase(self, key: str, value: float) -> float:
        """By how much the counter grew since the last run; NaN when not known. A lower value restarted from 0."""
        if not math.isfinite(value):
            return NAN
        self.now[key] = value
        before = self.before.get(key)
        if before is None:
            return NAN
        return value if value < before else value - before

    def restarted(self, key: str) -> bool:
        return self.now[key] < self.before.get(key, -math.inf)

    def rate(self, key: str, value: float) -> float:
        """The increase per second."""
        return self.increase(key, value) / self.seconds

    def busy_and_total(self, key: str, busy: float, total: float) -> tuple[float, float]:
        """The increases of two counters of which one is part of the other; (NaN, NaN) when they do not fit together.

        Linux may take back some of its idle and iowait time: then only the total is lower, and that is no restart.
        """
        part, whole = f"{key} busy", f"{key} total"
        increases = self.increase(part, busy), self.increase(whole, total)
        fits = part in self.now and whole in self.now and self.restarted(part) == self.restarted(whole)
        return increases if fits else (NAN, NAN)


def known_sum(numbers: Iterable[float]) -> float:
    """The sum of what is known; NaN when nothing is."""
    known = [number for number in numbers if not math.isnan(number)]
    return math.fsum(known) if known else NAN
