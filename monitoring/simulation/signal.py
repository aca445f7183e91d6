"""Numbers of a simulated server as pure functions of time: the same fleet and the same past after every restart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

DAY_S = 86_400.0
WEEK_S = 7 * DAY_S
OCTAVES_S = (15.0, 90.0, 900.0)
OCTAVE_WEIGHTS = (0.35, 0.4, 0.55)
SHARED_NOISE = 0.75
"""How much of a metric's noise is the server's own load, which all of its metrics feel."""

BUSIEST_HOUR_UTC = 13.0


def hashed(words: Words) -> Floats:
    """Evenly spread numbers in [-1, 1) from integers: the finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        z = words + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * (2.0 / 2**53) - 1.0


def noise(seeds: Words, at_s: float) -> Floats:
    """Smooth noise in about [-1.3, 1.3] at one instant, one number per seed, correlated over time only."""
    total = np.zeros(seeds.shape)
    for octave, (period, weight) in enumerate(zip(OCTAVES_S, OCTAVE_WEIGHTS, strict=True)):
        step, part = divmod(at_s / period, 1.0)
        blend = part * part * (3.0 - 2.0 * part)
        base = seeds * np.uint64(0x100000001B3) + np.uint64(octave * 0x5BD1E995)
        with np.errstate(over="ignore"):
            left = hashed(base ^ (np.uint64(int(step)) << np.uint64(20)))
            right = hashed(base ^ (np.uint64(int(step) + 1) << np.uint64(20)))
        total += weight * (left + (right - left) * blend)
    return total


def rhythm(at_s: float, phase_h: Floats) -> tuple[Floats, Floats]:
    """The daily and weekly rhythm in [-1, 1] for servers whose busiest hour is shifted by `phase_h` hours."""
    day = np.cos(2 * np.pi * (at_s / DAY_S - (BUSIEST_HOUR_UTC + phase_h) / 24.0))
    week = np.cos(2 * np.pi * (at_s - 4 * 3600) / WEEK_S) * np.ones_like(phase_h)
    return day, week


def values(profile: Floats, seeds: Words, at_s: float) -> Floats:
    """Metrics of servers of one template at one instant.

    `profile[j]` is (base, daily, weekly, noise) of metric j; `seeds[i]` is server i's own number. Returns [i, j].
    """
    metrics = np.arange(len(profile), dtype=np.uint64)
    phase_h = 1.5 * hashed(seeds ^ np.uint64(0xFACE))
    size = 1.0 + 0.18 * hashed(seeds ^ np.uint64(0x517E))
    day, week = rhythm(at_s, phase_h)
    shared = noise(seeds, at_s)[:, None]
    own = noise(seeds[:, None] * np.uint64(64) + metrics[None, :] + np.uint64(1), at_s)
    base, daily, weekly, swing = profile.T
    moving = (daily + weekly + swing) > 0
    mean = base * np.where(moving, size[:, None], 1.0)
    level: Floats = (
        mean
        + daily * day[:, None]
        + weekly * week[:, None]
        + swing * (SHARED_NOISE * shared + (1.0 - SHARED_NOISE) * own)
    )
    return level
