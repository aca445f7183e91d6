"""From a value beyond its limit to a mail that was accepted, and what a tick of the evaluator costs.

A whole portal, a mail server of its own, and a process that records 1,000 servers × 20 metrics every five seconds, each
of the 20,000 series with a limit; 50 servers break one at once. The clock starts when `record` is called with the
breaching samples and stops when the mail server is about to answer 250.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from django.utils import timezone

from alerts.rules import judge
from alerts.rules.run import evaluate_due
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.record import record
from monitoring.models import Batch
from portal.embedded.running import RunningPortal, running_portal
from portal.embedded.services import ROOT
from portal.system.bench._inside import environment
from portal.system.bench._smtp import FaultyMailServer, Kept
from portal.system.bench._watched import make_watched
from portal.toolkit.env import read_env_file

SERVERS, METRICS = 1_000, 20
BREACHES, ROUNDS = 50, 6
PROBLEMS, PEOPLE = 30, 2
TICKS = 30
ALL_TOLD_WITHIN_S = 30.0


def run() -> dict[str, float]:
    results = _ticks()
    with (
        tempfile.TemporaryDirectory() as folder,
        FaultyMailServer.running() as mail,
        running_portal(Path(folder) / "var", env={"EMAIL_URL": mail.url}) as portal,
    ):
        results |= _breaches(portal, mail)
        results |= _one_event(portal, mail)
    return {f"alerts.{name}": value for name, value in results.items()}


# --- What a tick costs ------------------------------------------------------------------------------------------------


def _ticks() -> dict[str, float]:
    """Median milliseconds for one sample of each of 20,000 series with a limit: all of it, and `evaluate` alone."""
    layout = tuple(SeriesName(f"tick_{number:02d}") for number in range(METRICS))
    server_ids = make_watched("tick", SERVERS, [name.metric for name in layout], people=0)
    with _timed(judge, "evaluate") as pure_ms:
        whole_ms = [_tick(server_ids, layout) for _ in range(TICKS + 3)]
    return {
        "tick_ms": float(np.median(whole_ms[3:])),
        "tick_p95_ms": float(np.percentile(whole_ms[3:], 95)),
        "evaluate_ms": float(np.median(pure_ms[3:])),
        "series": float(SERVERS * METRICS),
    }


def _tick(server_ids: Sequence[int], layout: tuple[SeriesName, ...]) -> float:
    at_ms = time.time_ns() // 1_000_000
    values = np.random.default_rng().uniform(0.0, 40.0, (SERVERS, METRICS))
    record([Frame(pk, at_ms, layout, row) for pk, row in zip(server_ids, values, strict=True)], origin="tick")
    began = time.perf_counter()
    evaluate_due(timezone.now())
    took_ms = (time.perf_counter() - began) * 1000
    assert not Batch.objects.filter(evaluated_at=None).exists()
    return took_ms


@contextmanager
def _timed(module: Any, name: str) -> Iterator[list[float]]:
    """Milliseconds of each call of `module.name`."""
    took_ms: list[float] = []
    function = getattr(module, name)

    def timed(*arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            took_ms.append((time.perf_counter() - began) * 1000)

    setattr(module, name, timed)
    try:
        yield took_ms
    finally:
        setattr(module, name, function)


# --- From the sample to the mail --------------------------------------------------------------------------------------


def _breaches(portal: RunningPortal, mail: FaultyMailServer) -> dict[str, float]:
    broke_ms: list[float] = []
    healed_ms: list[float] = []
    with _Fleet.running(portal, "load", SERVERS, METRICS, people=1) as fleet:
        for _ in range(ROUNDS):
            broke_ms += _told(portal, mail, fleet.tell(f"breach {BREACHES} 1"), "fired")
            healed_ms += _told(portal, mail, fleet.tell("recover"), "recovered")
    return {
        "breach_to_smtp_p50_ms": float(np.percentile(broke_ms, 50)),
        "breach_to_smtp_p95_ms": float(np.percentile(broke_ms, 95)),
        "breach_to_smtp_max_ms": max(broke_ms),
        "recovery_to_smtp_p95_ms": float(np.percentile(healed_ms, 95)),
        "breaches": float(ROUNDS * BREACHES),
        "mails_lost": float(2 * ROUNDS * BREACHES - len(broke_ms) - len(healed_ms)),
    }


def _one_event(portal: RunningPortal, mail: FaultyMailServer) -> dict[str, float]:
    """One server, all limits broken by one frame: mails to each person that it broke, and that it is over."""
    with _Fleet.running(portal, "event", 1, PROBLEMS, PEOPLE) as fleet:
        fleet.tell(f"breach 1 {PROBLEMS}")
        time.sleep(10)
        broke = [kept for kept in mail.kept if kept.receiver.startswith("event-")]
        fleet.tell("recover")
        time.sleep(10)
        told = [kept for kept in mail.kept if kept.receiver.startswith("event-")]
    return {
        "mails_for_30_problems": len(broke) / PEOPLE,
        "mails_for_30_recoveries": (len(told) - len(broke)) / PEOPLE,
    }


def _told(portal: RunningPortal, mail: FaultyMailServer, crossed: _Crossed, kind: str) -> list[float]:
    """Milliseconds until the mail of this kind about each of the servers was accepted; shorter when some never were."""
    deadline = time.monotonic() + ALL_TOLD_WITHIN_S
    while time.monotonic() < deadline:
        keys = _keys(portal, crossed.servers, kind)
        came = [kept.at for kept in list(mail.kept) if kept.at > crossed.began and _key(kept) in keys]
        if len(came) >= len(crossed.servers):
            break
        time.sleep(0.2)
    return [(at - crossed.began) * 1000 for at in came]


def _key(kept: Kept) -> str:
    return kept.message_id.partition("@")[0].lstrip("<")


def _keys(portal: RunningPortal, server_ids: Sequence[int], kind: str) -> set[str]:
    with psycopg.connect(read_env_file(portal.data / "portal.env")["DATABASE_URL"]) as connection:
        rows = connection.execute(
            "SELECT key FROM alerts_delivery JOIN alerts_incident ON alerts_incident.id = incident_id"
            " WHERE server_id = ANY(%s) AND kind = %s",
            [list(server_ids), kind],
        )
        return {key for (key,) in rows}


@dataclass(frozen=True)
class _Crossed:
    """Which servers broke their limits, or are well again, and when `record` was called with that."""

    servers: list[int]
    began: float
    committed: float


@dataclass
class _Fleet:
    """A running process of _breaches.py."""

    process: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def running(cls, portal: RunningPortal, name: str, servers: int, metrics: int, people: int) -> Iterator[_Fleet]:
        command = [sys.executable, "-m", "portal.system.bench._breaches", name]
        process = subprocess.Popen(
            [*command, str(servers), str(metrics), str(people)],
            cwd=ROOT,
            env=environment(portal),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        fleet = cls(process)
        try:
            fleet._answer()  # it is warm
            yield fleet
        finally:
            process.kill()
            process.communicate()

    def tell(self, command: str) -> _Crossed:
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> _Crossed:
        assert self.process.stdout is not None
        return _Crossed(**json.loads(self.process.stdout.readline()))
