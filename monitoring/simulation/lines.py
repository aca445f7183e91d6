"""What simulated servers write into their logs: pure functions of server, instant and what is measured at it.

A server whose numbers are as usual writes of its work. The further a number is beyond what is usual for its template,
the more of its lines tell of that, and the worse: the line that explains the spike is there, beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from random import Random

import numpy as np

from monitoring.history.frame import Frame
from monitoring.logs.line import Level, Line
from monitoring.models import ServerTemplate
from monitoring.simulation.signal import hashed
from monitoring.simulation.texts import Said, Scene
from monitoring.simulation.texts.troubles import TROUBLES
from monitoring.simulation.texts.works import WORKS, machine

PERIOD_NS = 5_000_000_000
SHARE = 0.7
"""How many of the servers write something in an instant's five seconds."""
MOST_AT_ONCE = 2_000
"""Of so many servers at most: a fleet of thousands is there to measure pages, not to fill disks."""
OF_THE_MACHINE = 0.12
"""The share of lines that are no work but the machine's own: sshd, cron, systemd."""
WARM, HOT = (
    {"cpu": 78.0, "memory": 84.0, "disk": 82.0, "swap": 30.0},
    {
        "cpu": 93.0,
        "memory": 95.0,
        "disk": 95.0,
        "swap": 70.0,
    },
)
"""Shares: where trouble begins, and where it is complete. For other metrics both follow from the template."""
HOT_TIMES = 2.5
FALLING = frozenset({"cache_hit", "db_cache_hit"})
"""Metrics that are bad when they are low."""

Server = tuple[ServerTemplate, Frame]


def fleet_lines(servers: Iterable[Server]) -> list[Line]:
    """The lines of the five seconds before each frame's instant. The same frames have the same lines."""
    some = list(servers)
    if not some:
        return []
    seeds = np.array([frame.server_id for _, frame in some], np.uint64)
    instants = np.array([frame.at_ms for _, frame in some], np.uint64)
    at_once = len(some) / len(np.unique(instants))
    share = min(SHARE, MOST_AT_ONCE / at_once)
    with np.errstate(over="ignore"):
        draws = (hashed(seeds * np.uint64(0x9E3779B1) ^ instants) + 1) / 2
    return [line for index in np.flatnonzero(draws < share).tolist() for line in server_lines(*some[index])]


def server_lines(template: ServerTemplate, frame: Frame) -> Iterator[Line]:
    """One line, or up to three when something is wrong."""
    random = Random(frame.server_id << 64 | frame.at_ms)  # noqa: S311 (the same numbers again are wanted)
    reading = {name.metric: float(value) for name, value in zip(frame.layout, frame.values, strict=True)}
    heats = {metric: heat(template, metric, value) for metric, value in reading.items() if metric in TROUBLES}
    worst = max(heats.values(), default=0.0)
    offsets = sorted(random.randrange(PERIOD_NS // 1000) for _ in range(1 + (worst > 0.3) + (worst > 0.7)))
    for offset in offsets:
        at_ns = frame.at_ms * 1_000_000 - PERIOD_NS + offset * 1000
        scene = Scene(frame.server_id, at_ns, random, reading, heats)
        said = _said(template, scene)
        yield Line(frame.server_id, at_ns, said.level, said.source, said.text, said.fields)


def _said(template: ServerTemplate, scene: Scene) -> Said:
    metric = _trouble(scene.heats, scene.random)
    if metric:
        about = TROUBLES[metric]
        return scene.random.choice(about.get(template.name) or about[""])(scene)
    if scene.random.random() < OF_THE_MACHINE:
        return machine(scene)
    return WORKS.get(template.name, machine)(scene)


def _trouble(heats: Mapping[str, float], random: Random) -> str:
    """The metric that the line is about; "" when it is about ordinary work. The worst one has the most lines."""
    worst = max(heats, key=lambda metric: heats[metric], default="")
    if not worst or random.random() >= 0.85 * heats[worst]:
        return ""
    names = list(heats)
    return random.choices(names, [heats[name] ** 2 for name in names])[0]


def heat(template: ServerTemplate, metric: str, value: float) -> float:
    """How wrong that is: 0 as usual, 1 as bad as it gets."""
    if np.isnan(value):
        return 0.0
    warm, hot = _limits(template, metric)
    if warm == hot:
        return 0.0
    return min(max((value - warm) / (hot - warm), 0.0), 1.0)


def _limits(template: ServerTemplate, metric: str) -> tuple[float, float]:
    if metric in WARM:
        return WARM[metric], HOT[metric]
    parts = template.profile[metric]
    swing = parts["daily"] + parts["weekly"] + parts["noise"]
    if metric in FALLING:
        return parts["base"] - 1.5 * swing, max(0.0, parts["base"] - 6 * swing)
    usual = 1.25 * (parts["base"] + swing)
    return usual, HOT_TIMES * usual


def severity(heat: float) -> Level:
    """Of a trouble of that heat."""
    return Level.ERROR if heat > 0.5 else Level.WARNING
