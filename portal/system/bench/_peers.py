"""Prometheus and VictoriaMetrics doing the same work beside ours, where Debian's packages of them are installed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from portal.embedded.mail import free_port

TIMEOUT_S = 60.0
READY_WITHIN_S = 60.0
STOPPED_WITHIN_S = 30.0
_FOREVER = "100y"


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server: its name, where it answers, the folder that holds all its data, and its process."""

    name: str
    port: int
    data: Path
    process: psutil.Process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **query: str) -> httpx.Response:
        return httpx.get(self.url + path, params=query, timeout=TIMEOUT_S).raise_for_status()

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Raises httpx.HTTPStatusError when the server refuses it."""
        httpx.post(self.url + path, content=body, headers=headers, timeout=TIMEOUT_S).raise_for_status()

    def samples(self, selector: str, seconds: int, until_s: float) -> list[tuple[float, float]]:
        """(epoch seconds, value) of the samples as they are that one series has of the seconds before `until_s`."""
        answer = self.get("/api/v1/query", query=f"{selector}[{seconds}s]", time=str(until_s))
        (series,) = answer.json()["data"]["result"]
        return [(float(at), float(value)) for at, value in series["values"]]

    def bytes_on_disk(self) -> int:
        return sum(file.stat().st_size for file in self.data.rglob("*") if file.is_file())


def installed(program: str) -> bool:
    """Whether there is such a program; where there is none, says so for whoever reads the benchmark."""
    found = shutil.which(program) is not None
    if not found:
        print(f"  {program} is not installed: its numbers are left out", flush=True)
    return found


@contextmanager
def prometheus(data: Path | None = None, options: Sequence[str] = ()) -> Iterator[Peer | None]:
    """Debian's Prometheus, taking remote_write, scraping nothing; None where it is not installed.

    `data` is a folder with blocks; without one it begins empty, in a folder that is removed at the end.
    """
    if not installed("prometheus"):
        yield None
        return
    with temporary_folder() as own:
        data = data or own / "data"
        config = own / "prometheus.yml"
        config.write_text("storage: {tsdb: {out_of_order_time_window: 1h}}\n")
        port = free_port()
        command = [
            *("prometheus", f"--config.file={config}", f"--storage.tsdb.path={data}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--web.enable-remote-write-receiver"),
            *(f"--storage.tsdb.retention.time={_FOREVER}", "--log.level=warn", *options),
        ]
        with _running(command, own / "log", port, "/-/ready") as process:
            yield Peer("prometheus", port, data, process)


@contextmanager
def victoria(options: Sequence[str] = ()) -> Iterator[Peer | None]:
    """Debian's VictoriaMetrics, empty, in a folder that is removed at the end; None where it is not installed."""
    if not installed("victoria-metrics"):
        yield None
        return
    with temporary_folder() as own:
        port = free_port()
        command = [
            *("victoria-metrics", f"-storageDataPath={own / 'data'}", f"-httpListenAddr=127.0.0.1:{port}"),
            *(f"-retentionPeriod={_FOREVER}", "-loggerLevel=WARN", *options),
        ]
        with _running(command, own / "log", port, "/health") as process:
            yield Peer("victoria", port, own / "data", process)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="om-peer-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _running(command: Sequence[str], log: Path, port: int, ready: str) -> Iterator[psutil.Process]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            _wait_for(process, f"http://127.0.0.1:{port}{ready}", log)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOPPED_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not answer: {log.read_text()[-2000:]}")
        time.sleep(0.1)
