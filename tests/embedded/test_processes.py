"""Children that note themselves, die with their parent, and are found when they were left over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portal.embedded.child import start_ticks
from portal.embedded.processes import end_left_overs, noted
from portal.embedded.services import as_child

pytestmark = pytest.mark.slow

SLEEP = ["sleep", "60"]


def wait_until(holds: Callable[[], bool], timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def spawn(run: Path, name: str, command: list[str], stop: signal.Signals = signal.SIGTERM) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(as_child(name, run, stop, command))
    wait_until(lambda: name in noted(run))
    return process


def test_a_child_notes_itself_and_then_is_the_command(tmp_path: Path) -> None:
    process = spawn(tmp_path, "sleeper", SLEEP)
    assert noted(tmp_path) == {"sleeper": process.pid}
    wait_until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n")
    process.kill()
    process.wait()
    assert noted(tmp_path) == {}


def test_a_child_dies_with_a_parent_that_is_killed_outright(tmp_path: Path) -> None:
    command = as_child("sleeper", tmp_path, signal.SIGTERM, SLEEP)
    parent = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.run({command!r})"])
    wait_until(lambda: "sleeper" in noted(tmp_path))
    child = noted(tmp_path)["sleeper"]
    wait_until(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n")

    parent.kill()
    parent.wait()

    wait_until(lambda: not start_ticks(child))


def test_a_pid_that_another_process_has_now_is_not_taken_for_ours(tmp_path: Path) -> None:
    process = subprocess.Popen(SLEEP)
    (tmp_path / "web.pid").write_text(f"{process.pid} 12345 {time.time()} 0\n")

    assert end_left_overs(tmp_path) == []

    assert process.poll() is None
    process.kill()
    process.wait()


def test_left_overs_are_ended_even_those_that_do_not_listen(tmp_path: Path) -> None:
    stubborn = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)",
    ]
    deaf = subprocess.Popen(as_child("deaf", tmp_path, signal.SIGTERM, stubborn), stdout=subprocess.PIPE)
    assert deaf.stdout
    deaf.stdout.readline()
    polite = spawn(tmp_path, "polite", SLEEP)

    assert end_left_overs(tmp_path, patience_s=0.3) == ["deaf", "polite"]

    assert polite.wait(5) == -signal.SIGTERM
    assert deaf.wait(5) == -signal.SIGKILL
    deaf.stdout.close()


def test_lives_that_end_at_once_are_followed_by_a_pause_of_at_most_three_seconds(tmp_path: Path) -> None:
    (tmp_path / "broken.pid").write_text(f"1 0 {time.time()} 50\n")
    begin = time.monotonic()
    subprocess.run(as_child("broken", tmp_path, signal.SIGTERM, ["true"]), check=True)
    assert 2.9 < time.monotonic() - begin < 4
    assert (tmp_path / "broken.pid").read_text().split()[3] == "51"


def test_a_first_kill_costs_no_pause(tmp_path: Path) -> None:
    (tmp_path / "web.pid").write_text(f"1 0 {time.time()} 0\n")
    begin = time.monotonic()
    subprocess.run(as_child("web", tmp_path, signal.SIGTERM, ["true"]), check=True)
    assert time.monotonic() - begin < 0.9


def test_a_process_that_is_gone_has_no_start(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert start_ticks(process.pid) == ""
    assert start_ticks(os.getpid()) != ""
