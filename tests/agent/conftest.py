"""The agent as its users have it: a file, run by a Python of its own, with nothing of the portal around it."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

PROGRAM = Path(__file__).resolve().parent.parent.parent / "monitoring" / "agent" / "openmanager_agent.py"
TOKEN = "omp_of-the-tests"
LINES_PATH = "/loki/api/v1/push"
PATIENCE_S = 30.0

Frame = dict[str, Any]
Reply = tuple[int, dict[str, Any] | bytes, dict[str, str]]


def wait_until(happened: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (result := happened()):
        assert time.monotonic() < end, f"in {PATIENCE_S:.0f} s not: {what}"
        time.sleep(0.02)
    return result


def kept(frames: list[Frame]) -> Reply:
    return 200, {"kept": sum(len(frame["metrics"]) for frame in frames), "gaps": 0, "refused": []}, {}


def no_content(body: bytes) -> Reply:
    return 204, b"", {}


class PushedLine(NamedTuple):
    """A line as Loki gets it; `stream` has its labels, sorted."""

    stream: tuple[tuple[str, str], ...]
    at_ns: int
    text: str
    facts: dict[str, str]


def lines_of(body: bytes) -> list[PushedLine]:
    return [
        PushedLine(tuple(sorted(stream["stream"].items())), int(at), text, *(facts or [{}]))
        for stream in json.loads(body)["streams"]
        for at, text, *facts in stream["values"]
    ]


@dataclass
class Catcher:
    """An HTTP server that answers as a portal would, or as it is told to.

    `bodies` are the frames of each request, `pushes` the bodies with lines.
    """

    port: int = 0
    answer: Callable[[list[Frame]], Reply] = kept
    bodies: list[list[Frame]] = field(default_factory=list)
    taken: list[Frame] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    pushes: list[bytes] = field(default_factory=list)
    answer_pushes: Callable[[bytes], Reply] = no_content
    taken_pushes: list[bytes] = field(default_factory=list)
    ahead_s: float = 0.0
    server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """On the port that it had before."""
        catcher = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                catcher.serve(self)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return super().date_time_string(time.time() + catcher.ahead_s)  # type: ignore[arg-type]

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = gzip.decompress(request.rfile.read(int(request.headers["Content-Length"])))
        if request.path == LINES_PATH:
            self._answer(request, *self._take_lines(body))
        else:
            self._answer(request, *self._take_frames(request, body))

    def _take_lines(self, body: bytes) -> Reply:
        self.pushes.append(body)
        reply = self.answer_pushes(body)
        if reply[0] == 204:
            self.taken_pushes.append(body)
        return reply

    def _take_frames(self, request: BaseHTTPRequestHandler, body: bytes) -> Reply:
        frames = json.loads(body)
        self.bodies.append(frames)
        self.headers.append(dict(request.headers))
        self.paths.append(request.path)
        reply = self.answer(frames)
        if reply[0] == 200 and isinstance(reply[1], dict):
            self.taken += frames
        return reply

    @staticmethod
    def _answer(
        request: BaseHTTPRequestHandler, status: int, said: dict[str, Any] | bytes, headers: dict[str, str]
    ) -> None:
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        request.send_response(status)
        for name, text in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(name, text)
        request.end_headers()
        request.wfile.write(content)

    def lines(self) -> list[PushedLine]:
        """Those that were taken, in the order in which they came; a repeated one once."""
        found = [line for body in self.taken_pushes for line in lines_of(body)]
        return list({(line.stream, line.at_ns, line.text): line for line in found}.values())

    def texts(self) -> list[str]:
        return [line.text for line in self.lines()]

    def close(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


@pytest.fixture
def catcher() -> Iterator[Catcher]:
    catcher = Catcher()
    catcher.open()
    yield catcher
    catcher.close()


@dataclass
class Started:
    """A running agent; what it says is in a file, so that nobody need read it in time."""

    process: subprocess.Popen[bytes]
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)


@dataclass
class Machine:
    """Where an agent is run: a home of its own and an environment in which nothing is set."""

    home: Path
    url: str = ""
    started: list[Started] = field(default_factory=list)

    @property
    def spool(self) -> Path:
        return self.home / ".local" / "state" / "openmanager-agent"

    @property
    def token_file(self) -> Path:
        return self.home / "token"

    def lines(self) -> list[str]:
        """What waits in the spool."""
        return [line for path in sorted(self.spool.glob("frames-*")) for line in path.read_text().splitlines()]

    def environment(self, **more: str) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_STATE_HOME": str(self.spool.parent), **more}

    def command(self, *options: str) -> list[str]:
        where = ["--url", self.url] if self.url else []
        return [sys.executable, "-W", "error", str(PROGRAM), *where, "--name", "web-1", *options]

    def ask(self, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command("--token-file", str(self.token_file), *options),
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    def start(self, *options: str) -> Started:
        output = self.home / f"agent-{len(self.started)}.out"
        command = self.command(
            "--token-file", str(self.token_file), "--interval", "1", "--spool", str(self.spool), *options
        )
        with output.open("wb") as file:
            process = subprocess.Popen(
                command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self.started.append(Started(process, output))
        return self.started[-1]


@pytest.fixture
def machine(tmp_path: Path, catcher: Catcher) -> Iterator[Machine]:
    """A machine whose agent sends to the catcher; every agent that was started is gone afterwards."""
    machine = Machine(tmp_path, catcher.url)
    machine.token_file.write_text(TOKEN + "\n")
    yield machine
    for started in machine.started:
        started.kill()


@pytest.fixture
def agent() -> ModuleType:
    """The file as a module, for what takes hours in a process."""
    spec = importlib.util.spec_from_file_location("openmanager_agent", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # NamedTuple's annotations are looked up there
    spec.loader.exec_module(module)
    return module
