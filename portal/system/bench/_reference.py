"""The reference set: 200 series × 24 h at 5 s from one seed, as servers have them, rounded as the catalogue rounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from monitoring.catalogue import BY_NAME
from monitoring.history.frame import Floats

STEP_MS = 5_000
PER_DAY = 86_400_000 // STEP_MS
SERVERS = 50
METRICS = ("cpu", "memory", "disk", "net_rx")
_CORRELATED = 0.95


def _smooth(random: np.random.Generator, swing: float) -> Floats:
    """Noise that remembers where it was."""
    steps = random.normal(0.0, swing, PER_DAY)
    level = np.empty(PER_DAY)
    at = 0.0
    for place, step in enumerate(steps):
        level[place] = at = _CORRELATED * at + step
    return level


def _rhythm(random: np.random.Generator) -> Floats:
    return np.asarray(np.sin(2 * np.pi * (np.arange(PER_DAY) / PER_DAY + random.random())))


def _cpu(random: np.random.Generator) -> Floats:
    """A daily rhythm, load that comes and goes, and a short peak now and then."""
    peaks = np.where(random.random(PER_DAY) < 0.002, random.uniform(20.0, 60.0, PER_DAY), 0.0)
    return random.uniform(10, 50) + 12.0 * _rhythm(random) + _smooth(random, 1.2) + peaks


def _memory(random: np.random.Generator) -> Floats:
    """A walk that is pulled back, with a little noise on top."""
    return random.uniform(30, 80) + np.cumsum(random.normal(0.0, 0.02, PER_DAY)) + random.normal(0.0, 0.08, PER_DAY)


def _disk(random: np.random.Generator) -> Floats:
    """Fills slowly, and is cleaned up once."""
    filled = np.linspace(0.0, random.uniform(0.5, 4.0), PER_DAY)
    return random.uniform(20, 80) + filled - np.where(np.arange(PER_DAY) > random.integers(PER_DAY), 1.5, 0.0)


def _network(random: np.random.Generator) -> Floats:
    """KB/s in bursts around a daily rhythm: the noisiest of the four."""
    level = np.exp(random.normal(random.uniform(3.0, 6.0), 0.35, PER_DAY))
    return np.asarray(level * (1.0 + 0.5 * _rhythm(random)))


_KINDS: dict[str, Callable[[np.random.Generator], Floats]] = {
    "cpu": _cpu,
    "memory": _memory,
    "disk": _disk,
    "net_rx": _network,
}


def day_of(server: int, metric: str) -> Floats:
    """The PER_DAY values of one metric of server number `server`: the same at every call."""
    random = np.random.default_rng((20_261_121, server, METRICS.index(metric)))
    known = BY_NAME[metric]
    high = np.inf if known.maximum is None else known.maximum
    return np.asarray(np.round(np.clip(_KINDS[metric](random), 0.0, high) / known.resolution) * known.resolution)
