"""The first breath of every process that `up` and `test` start: a script that notes itself, then becomes the command.

    python -I -S child.py --note FILE --signal N [--user NAME] [--postgres FOLDER] -- COMMAND…

It runs before each start and restart, so it uses the standard library only (20 ms) and leaves nothing behind in memory.
- `--note`: keeps "pid start-ticks wall-clock quick-ends" there, by which a later `up` finds what an earlier one left.
- `--signal`: the kernel sends it when the parent dies, even by SIGKILL: nothing outlives its supervisor (Linux).
- `--user`: the account to become; only root can.
- `--postgres`: waits until no server of an earlier life uses that data folder, and works in it.
- `--stale`: removes that file, as a pid in it may belong to another process by now; may be given more than once.
"""

import argparse
import contextlib
import ctypes
import os
import pwd
import signal
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
QUICK_S = 5  # a life shorter than this counts as a failed start
LONGEST_PAUSE_S = 3  # between failed starts: 0, 1, 2, 3, 3, … seconds; never given up


def start_ticks(pid: int) -> str:
    """When `pid` started, in clock ticks since boot: with the pid it names one process for ever. "" when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def users_of(folder: str) -> list[int]:
    """The PostgreSQL processes of the data folder `folder`: each works in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(process / "cwd") == folder and (process / "comm").read_text() == "postgres\n":
                found.append(int(process.name))
    return found


def end_users_of(folder: str) -> None:
    """Orphaned server processes end by themselves within a second; the rest is told to (SIGQUIT), then made to."""
    folder = os.path.realpath(folder)
    for wait_s, number in ((3.0, signal.SIGQUIT), (3.0, signal.SIGKILL), (3.0, signal.SIGKILL)):
        deadline = time.monotonic() + wait_s
        while users_of(folder):
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        for pid in users_of(folder):
            with contextlib.suppress(OSError):
                os.kill(pid, number)


def _pause(note: Path) -> int:
    """Wait a little when the earlier lives were short; how many were."""
    try:
        started, quick = note.read_text().split()[2:4]
        quick_ends = int(quick) + 1 if time.time() - float(started) < QUICK_S else 0
    except (OSError, ValueError):
        return 0
    time.sleep(max(0, min(quick_ends - 1, LONGEST_PAUSE_S)))
    return quick_ends


def _become(user: str) -> None:
    account = pwd.getpwnam(user)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def _die_with_parent(number: int, parent: int) -> None:
    # After the change of user, which clears it. A parent that died in the meantime is seen by the changed parent id.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)


def main() -> None:
    parent = os.getppid()
    parser = argparse.ArgumentParser()
    parser.add_argument("--note", type=Path, required=True)
    parser.add_argument("--signal", type=int, required=True)
    parser.add_argument("--user")
    parser.add_argument("--postgres")
    parser.add_argument("--stale", type=Path, action="append", default=[])
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    quick_ends = _pause(options.note)
    options.note.write_text(f"{os.getpid()} {start_ticks(os.getpid()) or 0} {time.time():.3f} {quick_ends}\n")
    if options.postgres:
        end_users_of(options.postgres)
        os.chdir(options.postgres)
    for file in options.stale:
        file.unlink(missing_ok=True)
    if options.user:
        _become(options.user)
    _die_with_parent(options.signal, parent)
    os.execvp(options.command[0], options.command)  # noqa: S606 (no shell is meant)


if __name__ == "__main__":
    main()
