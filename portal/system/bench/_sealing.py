"""A sealer or compactor that is killed with SIGKILL at a chosen step, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import cycle, islice

import numpy as np
from django.utils import timezone

from monitoring.history import horizon
from monitoring.history.chunks import DAY_MS, HOUR_MS
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.late import merge_late
from monitoring.history.read import read
from monitoring.history.record import record
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Server, ServerGroup
from portal.embedded.services import ROOT
from portal.system.bench._history import empty_history
from portal.toolkit.instants import from_ms

WHILE_SEALING = (
    ("seal", "_close"),  # chunks are written, nothing is locked
    ("horizon", "sealed"),  # in the transaction that moves the horizon
    ("partitions", "retire"),  # committed, the empty partition is still there
)
WHILE_COMPACTING = (
    ("compact", "_swap"),  # the new day is built
    ("horizon", "compacted"),  # in the transaction that swaps
)
"""(module, function) at whose call the process dies."""
STEP_MS = 5_000
NAME = SeriesName("sealing")

_KILLED = """
import os, signal, sys
import django
django.setup()
from monitoring.history import compact, horizon, partitions, seal
from portal.toolkit.instants import from_ms
module, name, work, now_ms = sys.argv[1:]
def die(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)
setattr({"compact": compact, "horizon": horizon, "seal": seal, "partitions": partitions}[module], name, die)
{"seal": seal.seal_due, "compact": compact.compact_due}[work](from_ms(int(now_ms)))
"""


def killed_at(module: str, name: str, work: str, now_ms: int, env: Mapping[str, str] | None = None) -> bool:
    """Seal or compact (`work`) what is due at `now_ms` until that function is called; whether it died of it."""
    environment = {**os.environ, **(env or {}), "DJANGO_SETTINGS_MODULE": "portal.settings"}
    command = [sys.executable, "-c", _KILLED, module, name, work, str(now_ms)]
    return subprocess.run(command, cwd=ROOT, env=environment, timeout=60, check=False).returncode == -signal.SIGKILL


def kills(rounds: int) -> dict[str, float]:
    """Kill a sealer in every hour of a past day, and let the next one finish it; count what is not there once."""
    group, _ = ServerGroup.objects.get_or_create(name="sealing")
    server, _ = Server.objects.get_or_create(name="sealing", defaults={"group": group})
    first_ms = (int(timezone.now().timestamp() * 1000) // DAY_MS - 2) * DAY_MS
    wrong = 0
    with empty_history():
        for number, (module, name) in enumerate(islice(cycle(WHILE_SEALING), rounds)):
            start_ms = first_ms + number * HOUR_MS
            _record(server.pk, start_ms)
            over_ms = start_ms + HOUR_MS + horizon.GRACE_MS
            assert killed_at(module, name, "seal", over_ms)
            wrong += _wrong(server.pk, first_ms, start_ms + HOUR_MS)
            seal_due(from_ms(over_ms))
            merge_late()
            wrong += _wrong(server.pk, first_ms, start_ms + HOUR_MS)
    return {"faults.sealers_killed": float(rounds), "faults.missing_or_changed_after_seals": float(wrong)}


def _record(server_id: int, start_ms: int) -> None:
    instants = range(start_ms, start_ms + HOUR_MS, STEP_MS)
    record([Frame.of(server_id, at, {NAME: at / 1000 % 97}) for at in instants], origin="bench")
    Batch.objects.update(evaluated_at=timezone.now())


def _wrong(server_id: int, start_ms: int, end_ms: int) -> int:
    at_ms = np.arange(start_ms, end_ms, STEP_MS)
    tracks = read(server_id, [NAME], start_ms, end_ms)
    if not np.array_equal(tracks.at_ms, at_ms):
        return abs(len(tracks.at_ms) - len(at_ms)) or len(at_ms)
    return int((tracks.values[0] != at_ms / 1000 % 97).sum())
