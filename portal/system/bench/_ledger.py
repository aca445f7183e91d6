"""The ledger: what a portal acknowledged, compared with what it has after a fault and a quiet time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import httpx
import psycopg

from portal.embedded.running import RunningPortal
from portal.embedded.services import ROOT
from portal.system.bench._inside import environment, inside

HEALED_WITHIN_S = 30.0
FRESH_WITHIN_S = 10.0


@dataclass
class Ledger:
    """A running sender and what it was told."""

    portal: RunningPortal
    host: str
    path: Path
    process: subprocess.Popen[bytes]
    KIND: ClassVar = "samples"

    @classmethod
    def open(cls, portal: RunningPortal, path: Path) -> Self:
        """A sender of a host that joins by its first push, as any machine does."""
        host = f"ledger-{cls.KIND}-{time.time_ns()}"
        command = [sys.executable, "-m", "portal.system.bench._sender", portal.url, host, str(path), cls.KIND]
        env = {**os.environ, "OPENMANAGER_TOKEN": portal.demo["push_token"]}
        ledger = cls(portal, host, path, subprocess.Popen(command, cwd=ROOT, env=env))
        ledger.wait_for_more(20)
        return ledger

    def acknowledged(self) -> dict[int, float]:
        """instant → number of every sample that was promised; a line that was being written is none."""
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else []
        return {int(at): float(number) for at, number in (line.split() for line in lines)}

    def wait_for_more(self, count: int, timeout_s: float = HEALED_WITHIN_S) -> None:
        """Until that many more samples were acknowledged: the portal takes samples again."""
        goal = len(self.acknowledged()) + count
        deadline = time.monotonic() + timeout_s
        while len(self.acknowledged()) < goal:
            assert self.process.poll() is None, "the sender was refused"
            assert time.monotonic() < deadline, f"no samples were taken for {timeout_s} s\n{self.portal.report()}"
            time.sleep(0.1)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()

    def missing(self) -> list[int]:
        """The instants of acknowledged samples that the portal does not have, or has with another value."""
        promised = self.acknowledged()
        low, high = min(promised), max(promised) + 1
        found = inside(
            self.portal,
            f"(lambda t: list(zip(t.at_ms.tolist(), t.values[0].tolist())))"
            f"(read(Server.objects.get(name='{self.host}').pk, [SeriesName('ledger')], {low}, {high}))",
        )
        kept = {int(at): number for at, number in found}
        return [at for at, number in promised.items() if kept.get(at) != number]


class LogLedger(Ledger):
    """Lines of a log instead: `at` is in nanoseconds, and two lines may have one."""

    KIND: ClassVar = "lines"

    def promised(self) -> list[tuple[int, str]]:
        lines = self.path.read_text().split("\n")[:-1]
        return [(int(at), f"line {number}") for at, number in (line.split() for line in lines)]

    def missing(self) -> list[int]:
        """The instants of acknowledged lines that the portal does not show exactly once; fails when it counts others
        than it shows.
        """
        promised = self.promised()
        shown, counted = inside(
            self.portal,
            f"(lambda ask: ([(line.position.at_ns, line.text) for line in"
            f" search(ask, servers=None, limit=1_000_000, deadline_s=50).lines],"
            f" sum(totals(ask, servers=None, start_ms={promised[0][0] // 1_000_000 - 60_000},"
            f" end_ms={time.time_ns() // 1_000_000}).values())))"
            f"(Ask(servers=frozenset(Server.objects.filter(name='{self.host}').values_list('pk', flat=True))))",
        )
        times = Counter((at, text) for at, text in shown)
        assert counted == len(shown), f"{len(shown)} lines are shown and {counted} counted"
        return [line[0] for line in promised if times[line] != 1]


def seconds_until_fresh(portal: RunningPortal, since: float) -> float:
    """Seconds from `since` (time.time) until the simulated fleet has an instant younger than it; fails after a while.

    The whole chain must work for it: beat, worker, PostgreSQL, and Redis in between.
    """
    while not (alive(portal) and generated_until(portal) > since):
        assert time.time() - since < HEALED_WITHIN_S + 15, (
            f"nothing new for {time.time() - since:.0f} s\n{portal.report()}"
        )
        time.sleep(0.2)
    return time.time() - since


def generated_until(portal: RunningPortal) -> float:
    """Epoch seconds; 0 when nothing is generated, or PostgreSQL is away."""
    asked = "SELECT extract(epoch FROM max(generated_until))::float FROM monitoring_simulation"
    try:
        with psycopg.connect(environment(portal)["DATABASE_URL"], connect_timeout=3) as connection:
            found = connection.execute(asked).fetchone()
    except psycopg.Error:
        return 0.0
    return (found and found[0]) or 0.0


def alive(portal: RunningPortal) -> bool:
    """Whether pages are served: /readyz says 200."""
    try:
        return httpx.get(f"{portal.url}/readyz", timeout=3).status_code == 200
    except httpx.HTTPError:
        return False
