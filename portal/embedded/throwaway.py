"""PostgreSQL, Redis and mail that live as long as one test run. Several runs at once do not meet."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from portal.embedded import mail
from portal.embedded.errors import StartError
from portal.embedded.services import ROOT, VARIABLES, Place, Service, is_ready, prepare

PREFIX = "openmanager-test-"
START_TIMEOUT_S = 60.0


@contextmanager
def services(given: Mapping[str, str], *, durable: bool = False) -> Iterator[dict[str, str]]:
    """Run what `given` has no URL for; yields the environment in which a portal uses all of it. Raises StartError.

    A commit reaches the disk only if `durable`: tests do without, measurements must not.

    Variables of the portal in `given` are left out: a test must not depend on whose terminal it runs in.
    """
    remove_left_overs()
    with ExitStack() as stack:
        folder = stack.enter_context(_folder())
        place = Place(folder, folder, folder / "postgres", folder / "postgres", folder / "var" / "mail")
        place.mail.parent.mkdir()
        env = {name: value for name, value in given.items() if not name.startswith("PORTAL_")}
        env |= {"PORTAL_DATA": str(folder / "var"), "PORTAL_SECRET_KEY": secrets.token_urlsafe(50)}
        wanted = prepare(given, place, secrets.token_urlsafe(24), mail.free_port(), throw_away=not durable)
        for service in wanted:
            stack.enter_context(running(service, folder / f"{service.name}.log"))
            env[VARIABLES[service.name]] = service.url
        for service in wanted:
            if not is_ready(service.name, service.url, START_TIMEOUT_S):
                said = (folder / f"{service.name}.log").read_text(errors="replace")[-2000:].strip()
                raise StartError(f"The tests' own {service.name} did not start: {said or 'it said nothing'}")
        yield env


@contextmanager
def running(service: Service, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`service` as a process that is stopped at the end."""
    with log.open("ab") as output:
        # Its own process group: Ctrl-C goes to the tests alone, and the services stop after them.
        process = subprocess.Popen(
            service.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
    try:
        yield process
    finally:
        process.send_signal(service.stop)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def remove_left_overs() -> None:
    """Folders of runs that were killed: nobody holds their lock, as the kernel lets go of it with the process."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)  # under root another account must reach PostgreSQL's folder in it, and see nothing else
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
