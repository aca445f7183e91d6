"""Screens of cards whose servers are recorded: the load of `fanout`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from django.db import connection

from monitoring import hot_lines
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.record import record
from monitoring.hot_table import HEADLINE
from monitoring.models import Server, ServerGroup

SCREENS, CARDS = 25, 40
TOUCHED = 200
EACH = TOUCHED // SCREENS
LAYOUT = tuple(SeriesName(name) for name in HEADLINE)

Tell = Callable[[list[int]], None]


def make_servers() -> list[int]:
    """The ids of as many new servers as the screens show."""
    group, _ = ServerGroup.objects.get_or_create(name="fanout")
    made = Server.objects.bulk_create(Server(name=f"fanout-{number}", group=group) for number in range(SCREENS * CARDS))
    return [server.pk for server in made]


def fill_lines(server_ids: list[int]) -> None:
    """Record the last minutes of each, so that the line of its card is whole."""
    now_ms = time.time_ns() // 1_000_000
    for slot in range(hot_lines.SLOTS_KEPT, 0, -1):
        record(_frames(server_ids, now_ms - slot * hot_lines.SLOT_MS, np.random.default_rng(slot)), origin="bench")


def cards_of(screen: int, server_ids: list[int]) -> list[int]:
    return server_ids[screen * CARDS : (screen + 1) * CARDS]


def _frames(ids: list[int], at_ms: int, random: np.random.Generator) -> list[Frame]:
    return [Frame(pk, at_ms, LAYOUT, random.uniform(1, 99, len(LAYOUT))) for pk in ids]


@dataclass
class Published:
    committed_ns: dict[int, int] = field(default_factory=dict)
    """When each instant was committed, by the instant (ms)."""
    telling_s: float = 0.0
    """CPU of this process for `tell`."""


def publish(server_ids: list[int], seconds: int, tell: Tell = lambda _: None) -> Published:
    """Record EACH servers of each screen once a second, and `tell` of them (their ids, screen after screen)."""
    done = Published()
    random = np.random.default_rng(seconds)
    for second in range(seconds):
        started = time.perf_counter()
        offset = second * EACH % CARDS
        touched = [pk for screen in range(SCREENS) for pk in cards_of(screen, server_ids)[offset : offset + EACH]]
        at_ms = time.time_ns() // 1_000_000
        with _noting_the_commit() as commits:
            record(_frames(touched, at_ms, random), origin="bench")
        done.committed_ns[at_ms] = commits[-1]
        cpu_before = time.process_time()
        tell(touched)
        done.telling_s += time.process_time() - cpu_before
        time.sleep(max(0.0, 1.0 - (time.perf_counter() - started)))
    return done


@contextmanager
def _noting_the_commit() -> Iterator[list[int]]:
    """The wall clock (ns) after each commit on this thread's connection."""
    commits: list[int] = []
    commit = connection.commit

    def noted() -> None:
        commit()
        commits.append(time.time_ns())

    connection.commit = noted  # type: ignore[method-assign]
    try:
        yield commits
    finally:
        connection.commit = commit  # type: ignore[method-assign]
