"""A whole portal as a person gets it: `manage.py up` in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from portal.embedded.processes import noted
from portal.embedded.services import ROOT, VARIABLES

SERVICES = {"postgres", "redis", "mail"}
CHILDREN = SERVICES | {"web", "worker-fast", "worker-bulk", "beat"}
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 40.0


@dataclass
class RunningPortal:
    """`pids()` names the children: postgres, redis, mail, web, worker-fast, worker-bulk, beat; and web-2, live, … ."""

    process: subprocess.Popen[bytes]
    data: Path
    output: Path
    beside: ExitStack = field(default_factory=ExitStack)  # what ends with it

    @classmethod
    def start(
        cls, data: Path, *, servers: int = 0, port: int = 0, env: Mapping[str, str] | None = None, **processes: int
    ) -> RunningPortal:
        """Ready when it returns; `processes` as in `up --web 2 --live 1 --intake 1`.

        On failure the exception carries what `up` said and the ends of its logs.
        """
        portal = cls.launch(data, servers=servers, port=port, env=env, **processes)
        deadline = time.monotonic() + START_TIMEOUT_S
        while "OpenManager is ready" not in portal.said():
            if portal.process.poll() is not None or time.monotonic() > deadline:
                report = portal.report()
                portal.kill_all()
                raise RuntimeError(f"The portal did not start.\n{report}")
            time.sleep(0.05)
        return portal

    @classmethod
    def launch(
        cls, data: Path, *, servers: int = 0, port: int = 0, env: Mapping[str, str] | None = None, **processes: int
    ) -> RunningPortal:
        """Started, and not waited for."""
        output = data.with_name(f"{data.name}.out")
        command = [sys.executable, str(ROOT / "manage.py"), "up", "--port", str(port)]
        command += ["--data", str(data), "--servers", str(servers)]
        command += [word for name, count in processes.items() for word in (f"--{name}", str(count))]
        with output.open("wb") as file:
            process = subprocess.Popen(
                command,
                env=bare_environment() | dict(env or {}),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        return cls(process, data, output)

    @property
    def demo(self) -> dict[str, str]:
        """url, username, password, push_token, read_token, intake_url, live_url."""
        found: dict[str, str] = json.loads((self.data / "demo.json").read_text())
        return found

    @property
    def url(self) -> str:
        return self.demo["url"].rstrip("/")

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def pids(self) -> dict[str, int]:
        return noted(self.data / "run")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send `number` to the child `name`; its pid."""
        pid = self.pids()[name]
        os.kill(pid, number)
        return pid

    def wait_for_another(self, name: str, pid: int, timeout_s: float = 15.0) -> float:
        """Seconds until the child `name` runs as another process than `pid`."""
        begin = time.monotonic()
        while self.pids().get(name, pid) == pid:
            if time.monotonic() - begin > timeout_s:
                raise RuntimeError(f"{name} did not come back in {timeout_s} s.\n{self.report()}")
            time.sleep(0.02)
        return time.monotonic() - begin

    def stop(self) -> int:
        """As `kill` or Ctrl-C do; the exit code."""
        self.beside.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            report = self.report()
            self.kill_all()
            raise RuntimeError(f"The portal did not stop in {STOP_TIMEOUT_S} s.\n{report}") from None

    def kill_all(self) -> None:
        """As a power cut does."""
        self.beside.close()
        for pid in [self.process.pid, *self.pids().values()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()

    def report(self) -> str:
        """What `up` said and the last lines of each log."""
        logs = sorted((self.data / "logs").glob("*.log"))
        ends = [f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]) for log in logs]
        return "\n".join([self.said(), *ends])


def bare_environment() -> dict[str, str]:
    """This process's environment without the services and settings of the tests."""
    services = set(VARIABLES.values())
    return {k: v for k, v in os.environ.items() if k not in services and not k.startswith("PORTAL_")}


def remove_data(data: Path) -> None:
    """The data of a stopped portal, wherever it is."""
    elsewhere = data / "postgres.path"
    if elsewhere.exists():
        shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
    shutil.rmtree(data, ignore_errors=True)


@contextmanager
def running_portal(
    data: Path, *, servers: int = 0, env: Mapping[str, str] | None = None, **processes: int
) -> Iterator[RunningPortal]:
    """A ready portal that is gone afterwards, with its data."""
    portal = RunningPortal.start(data, servers=servers, env=env, **processes)
    try:
        yield portal
    finally:
        portal.stop()
        remove_data(portal.data)
