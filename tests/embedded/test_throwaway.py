"""`manage.py test` from outside: what it takes, what it gives back and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.embedded.running import bare_environment
from portal.embedded.services import ROOT
from portal.embedded.throwaway import PREFIX, remove_left_overs

pytestmark = pytest.mark.slow


@pytest.fixture
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="om-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


def launch(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "manage.py", "test", "-p", "no:cacheprovider", *arguments]
    env = bare_environment() | {"TMPDIR": str(temporary)}
    return subprocess.Popen(
        command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=180)
    return process.returncode, said


def write_test(folder: Path, body: str) -> str:
    file = folder / "test_one.py"
    file.write_text(f"def test_one():\n    {body}\n")
    return str(file)


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 120
    while not file.exists() or not file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return file.read_text()


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_it_gives_pytest_its_arguments_and_gives_back_its_exit_code(temporary: Path) -> None:
    failing = write_test(temporary, "assert False, 'as meant'")
    code, said = finish(launch(temporary, failing, "-q"))
    assert (code, "as meant" in said) == (1, True), said
    code, said = finish(launch(temporary, failing, "--collect-only", "-q"))
    assert (code, "test_one.py::test_one" in said) == (0, True), said
    code, said = finish(launch(temporary, failing, "-k", "nothing_of_that_name"))
    assert code == 5, said
    assert list(temporary.glob(f"{PREFIX}*")) == []


def test_two_runs_at_once_do_not_meet(temporary: Path) -> None:
    body = "import os; print('RUN', os.environ['DATABASE_URL'], os.environ['REDIS_URL'], os.environ['EMAIL_URL'])"
    passing = write_test(temporary, body)
    runs = [launch(temporary, passing, "-q", "-s") for _ in range(2)]
    results = [finish(run) for run in runs]
    assert [code for code, _ in results] == [0, 0], results
    first, second = (next(line for line in said.splitlines() if "RUN" in line).split() for _, said in results)
    assert set(first) & set(second) == {"RUN"}


def test_the_portals_variables_of_the_terminal_do_not_reach_the_tests(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passing = write_test(temporary, "from django.conf import settings; assert settings.DEBUG is False")
    env = bare_environment() | {"PORTAL_DEBUG": "nonsense", "TMPDIR": str(temporary)}
    done = subprocess.run(
        [sys.executable, "manage.py", "test", "-q", passing], cwd=ROOT, env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing(temporary: Path, number: signal.Signals) -> None:
    note = temporary / "note"
    waiting = write_test(
        temporary, f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    run = launch(temporary, waiting)
    tests = int(wait_for(note))
    os.killpg(run.pid, number) if number == signal.SIGINT else run.terminate()
    code, said = finish(run)
    assert code == 2, said  # pytest's word for "interrupted"
    assert not is_alive(tests)
    assert list(temporary.glob(f"{PREFIX}*")) == []


def test_what_a_killed_run_leaves_is_removed_by_the_next(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = temporary / "note"
    waiting = write_test(temporary, f"import time; open({str(note)!r}, 'w').write('here'); time.sleep(60)")
    run = launch(temporary, waiting)
    wait_for(note)
    (folder,) = temporary.glob(f"{PREFIX}*")
    services = [int(file.read_text().split()[0]) for file in folder.glob("*.pid")]
    assert len(services) == 3
    os.killpg(run.pid, signal.SIGKILL)
    finish(run)

    deadline = time.monotonic() + 10
    while any(is_alive(pid) for pid in services):
        assert time.monotonic() < deadline, "the services outlived their run"
        time.sleep(0.05)
    assert folder.exists()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    remove_left_overs()
    assert not folder.exists()
