"""Which processes of a portal run now: each has noted itself in the run folder (child.py)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from portal.embedded.child import start_ticks


def noted(run: Path) -> dict[str, int]:
    """Name → pid of the living processes noted in the folder `run`; not a pid that belongs to another now."""
    found = {}
    for note in run.glob("*.pid"):
        try:
            pid, ticks = note.read_text().split()[:2]
        except (OSError, ValueError):
            continue
        if start_ticks(int(pid)) == ticks:
            found[note.stem] = int(pid)
    return found


def quick_ends(run: Path, name: str) -> int:
    """How many lives of `name` in a row have ended as soon as they began."""
    try:
        return int((run / f"{name}.pid").read_text().split()[3])
    except (OSError, ValueError, IndexError):
        return 0


def end_left_overs(run: Path, *, patience_s: float = 10.0) -> list[str]:
    """End what an earlier `up` left running, politely first, and forget its notes; the names of what there was."""
    names = sorted(noted(run))
    for name, pid in noted(run).items():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT if name == "postgres" else signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while (left := noted(run)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for note in run.glob("*.pid"):
        note.unlink()
    return names
