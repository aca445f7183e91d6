"""Processes whose clock somebody else sets while they run: Debian's libfaketime, in everything that a portal starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SLEEP = Path(__file__).with_name("_faketime")
"""A folder for PYTHONPATH: Python's own sleep does not get along with libfaketime."""
SHARED = Path("/dev/shm")  # noqa: S108 (libfaketime's choice)


class Clock:
    """Written into a file that the processes look at each second. Only what tells the time of day is changed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        file.chmod(0o644)  # PostgreSQL may run under another account

    def set(self, ahead_s: int) -> None:
        """From now on the processes are that many seconds ahead of this machine; less than 0: behind."""
        self._file.write_text(f"{ahead_s:+d}\n")

    def close(self) -> None:
        """Remove what libfaketime leaves behind of processes that are gone."""
        for left in SHARED.glob("*faketime_s*m_*"):
            if not Path(f"/proc/{left.name.rpartition('_')[2]}").exists():
                left.unlink(missing_ok=True)

    @property
    def env(self) -> Mapping[str, str]:
        """What a process needs in its environment. Exits with a sentence where there is no libfaketime."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(SLEEP),
        }


def library() -> Path:
    """libfaketime for programs of many threads."""
    for folder in ("/usr/lib", "/usr/local/lib", "/lib64", "/usr/lib64"):
        for found in Path(folder).glob("**/libfaketimeMT.so.1"):
            return found
    raise SystemExit("This needs libfaketime (Debian: apt-get install faketime).")
