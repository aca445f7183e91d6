"""Whatever is killed, at a random moment and under load: it heals by itself and no acknowledged sample is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from portal.embedded.running import RunningPortal, running_portal
from portal.embedded.services import ROOT
from portal.system.bench._inside import environment, inside
from portal.system.bench._ledger import HEALED_WITHIN_S, Ledger, LogLedger
from portal.system.bench.faults import FAULTS, break_and_heal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    with running_portal(tmp_path_factory.mktemp("faults") / "var", servers=30) as running:
        yield running


@pytest.fixture
def ledger(portal: RunningPortal, tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(portal, tmp_path / "ledger")
    yield opened
    opened.close()


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_killed_or_emptied_heals_twice_and_nothing_acknowledged_is_lost(
    portal: RunningPortal, ledger: Ledger, fault: str
) -> None:
    assert break_and_heal(portal, ledger, fault) < HEALED_WITHIN_S
    assert break_and_heal(portal, ledger, fault) < HEALED_WITHIN_S
    ledger.close()
    assert ledger.missing() == []


@pytest.mark.parametrize("fault", ["web", "postgres", "worker-bulk"])
def test_lines_that_were_acknowledged_are_shown_and_counted_once_whatever_was_killed(
    portal: RunningPortal, tmp_path: Path, fault: str
) -> None:
    """More than once while they come and are merged: blocks rest for ten seconds."""
    ledger = LogLedger.open(portal, tmp_path / "lines")
    for _ in range(3):
        time.sleep(random.uniform(2, 6))
        portal.wait_for_another(fault, portal.kill(fault))
        ledger.wait_for_more(100)
    ledger.close()
    assert ledger.missing() == []
    wait_until_merged(portal)
    assert ledger.missing() == []


def wait_until_merged(portal: RunningPortal) -> None:
    deadline = time.monotonic() + HEALED_WITHIN_S
    while inside(portal, "LogBlock.objects.filter(tier=0, origin='loki').count()"):
        assert time.monotonic() < deadline, portal.report()
        time.sleep(0.5)


def test_everything_killed_at_once_and_started_again_has_the_day_that_was_acknowledged(tmp_path: Path) -> None:
    """Under load, and while the hours of the day go cold; in the next life they do so to the end."""
    data = tmp_path / "var"
    first = RunningPortal.start(data, servers=3)
    sent = push_a_day(first)
    ledger = Ledger.open(first, tmp_path / "ledger")
    sealer = going_cold(first)
    time.sleep(random.uniform(0.5, 3.0))
    sealer.kill()
    sealer.wait()
    first.kill_all()
    ledger.close()
    with running_portal(data, servers=3) as second:
        ledger.portal = second
        assert ledger.missing() == []
        assert samples_of(second, "yesterday", sent) == sent
        assert going_cold(second).wait(timeout=60) == 0
        assert samples_of(second, "yesterday", sent) == sent
        assert inside(second, "Server.objects.filter(simulated=True).count()") == 3


GOING_COLD = """
import django
django.setup()
from django.utils import timezone
from monitoring.history.compact import compact_due
from monitoring.history.late import merge_late
from monitoring.history.seal import seal_due
from monitoring.models import Batch
Batch.objects.filter(evaluated_at=None).update(evaluated_at=timezone.now())
seal_due(timezone.now())
merge_late()
compact_due(timezone.now())
"""


def going_cold(portal: RunningPortal) -> subprocess.Popen[bytes]:
    """What beat wakes within minutes, at once and in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", GOING_COLD], cwd=ROOT, env=environment(portal))


def push_a_day(portal: RunningPortal) -> dict[int, float]:
    """instant (ms) → value of every sample of a host that caught up with 24 hours at 5 s; all were acknowledged."""
    now_ms = time.time_ns() // 1_000_000
    sent = {at_ms: float(number) for number, at_ms in enumerate(range(now_ms - 86_400_000, now_ms, 5_000))}
    instants = list(sent)
    headers = {"Authorization": f"Bearer {portal.demo['push_token']}"}
    for start in range(0, len(instants), 1000):
        frames = [{"at": at / 1000, "metrics": {"queue_depth": sent[at]}} for at in instants[start : start + 1000]]
        body = {"host": "yesterday", "frames": frames}
        answer = httpx.post(f"{portal.url}/api/push", json=body, headers=headers, timeout=30)
        assert answer.is_success, answer.text
    return sent


def samples_of(portal: RunningPortal, host: str, within: dict[int, float]) -> dict[int, float]:
    found = inside(
        portal,
        f"(lambda t: list(zip(t.at_ms.tolist(), t.values[0].tolist())))"
        f"(read(Server.objects.get(name='{host}').pk, [SeriesName('queue_depth')], {min(within)}, {max(within) + 1}))",
    )
    return {int(at): value for at, value in found}
