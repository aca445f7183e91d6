"""Every child killed many times at random moments, under load: what was lost, and how long it took to heal."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import redis

from portal.embedded.running import RunningPortal, running_portal
from portal.system.bench import _sealing
from portal.system.bench._inside import environment
from portal.system.bench._ledger import Ledger, alive, seconds_until_fresh

ROUNDS = 10
CHILDREN = ["web", "worker-fast", "worker-bulk", "beat", "redis", "postgres"]
FAULTS = [*CHILDREN, "flush"]
"""A child is killed with SIGKILL, which PostgreSQL takes for a power cut; "flush" empties Redis."""


def run() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, running_portal(Path(folder) / "var", servers=30) as portal:
        ledger = Ledger.open(portal, Path(folder) / "ledger")
        healed: dict[str, list[float]] = {fault: [] for fault in FAULTS}
        for _ in range(ROUNDS):
            for fault in random.sample(FAULTS, len(FAULTS)):
                healed[fault].append(break_and_heal(portal, ledger, fault))
        ledger.close()
        missing = ledger.missing()
        acknowledged = len(ledger.acknowledged())
    return {
        "faults.kills": float(ROUNDS * len(CHILDREN)),
        "faults.acknowledged_samples": float(acknowledged),
        "faults.missing_samples": float(len(missing)),
        **_sealing.kills(ROUNDS),
        **{f"faults.{child.replace('-', '_')}_healed_max_s": max(seconds) for child, seconds in healed.items()},
    }


def break_and_heal(portal: RunningPortal, ledger: Ledger, fault: str) -> float:
    """Seconds from the fault until the whole chain moves again: samples taken, pages served, the fleet generated."""
    time.sleep(random.uniform(0.0, 2.0))  # noqa: S311 (a moment, not a secret)
    broken_at = time.time()
    if fault == "flush":
        redis.Redis.from_url(environment(portal)["REDIS_URL"]).flushall()
    else:
        pid = portal.kill(fault)
        broken_at = time.time()
        portal.wait_for_another(fault, pid)
    ledger.wait_for_more(20)
    while not alive(portal):
        time.sleep(0.1)
    return seconds_until_fresh(portal, broken_at)
