"""The data folder: everything that a portal keeps on this machine, and short folders for its sockets."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from portal.embedded.errors import StartError, of_disk

LONGEST_SOCKET_FOLDER = 85  # a unix socket's path may have 107 bytes; the rest is the file's name
LEAST_FREE_BYTES = 300_000_000


def open_data(data: Path) -> Path:
    """The data folder with its rooms, made where missing and closed to other people. Raises StartError."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        if data.stat().st_uid == os.geteuid():
            data.chmod(0o700)
        for room in ("run", "logs", "mail"):
            (data / room).mkdir(mode=0o700, exist_ok=True)
        (data / "run" / "writable").write_text("")
    except OSError as error:
        raise of_disk(error, f"The data folder {data}") from error
    if shutil.disk_usage(data).free < LEAST_FREE_BYTES:
        raise StartError(f"The disk of {data} has less than {LEAST_FREE_BYTES // 1_000_000} MB free: free some space.")
    return data.resolve()


def socket_folder(folder: Path) -> Path:
    """`folder`, or a short one of ours in the temporary folder where its path is too long for a unix socket."""
    if len(os.fsencode(folder)) <= LONGEST_SOCKET_FOLDER:
        return folder
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:10]
    short = Path(tempfile.gettempdir()) / f"openmanager-{os.geteuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    # Anybody can make a folder of this name first: one that is not ours alone would let them listen in.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise StartError(f"{short} belongs to somebody else: remove it, or choose a data folder with a shorter path.")
    return short


def write_private(path: Path, text: str) -> None:
    """Replace `path` at once by a file that only its owner can read."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        os.fchmod(handle, 0o600)
        file.write(text)
        file.flush()
        os.fsync(handle)
    half.replace(path)
