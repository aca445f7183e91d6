"""`manage.py up` from outside: what a person, a kill and a power cut see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from portal.embedded.running import CHILDREN, RunningPortal, bare_environment, remove_data, running_portal
from portal.embedded.services import ROOT
from portal.toolkit.env import read_env_file

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    with running_portal(tmp_path_factory.mktemp("up") / "var", servers=3) as portal:
        yield portal


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    data = tmp_path / "var"
    yield data
    remove_data(data)


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For tests to which it is all the same whether a portal has lived there: only the first one makes a database."""
    data = tmp_path_factory.mktemp("lived-in") / "var"
    yield data
    remove_data(data)


def get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:
        status: int = answer.status
    return status


def processes_of(data: Path) -> list[psutil.Process]:
    """Everything that runs for the portal in `data`, by what it was told: its own name is not enough."""
    home = data / "postgres.path"
    places = {str(data), home.read_text().strip() if home.exists() else str(data / "postgres")}
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.environ().get("PORTAL_DATA", "")]
            works_in = process.cwd()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(place in text for place in places for text in [*told, works_in]):
            found.append(process)
    return found


def nothing_runs(data: Path, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while processes_of(data):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def up(data: Path, *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    """An `up` that is expected to end by itself."""
    command = [sys.executable, "manage.py", "up", "--data", str(data), *more]
    return subprocess.run(
        command, cwd=ROOT, env=bare_environment() | env, capture_output=True, text=True, timeout=60, check=False
    )


def is_one_sentence(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 1 and "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_it_says_where_it_is_and_who_may_come_in(shared: RunningPortal) -> None:
    demo = shared.demo
    (line,) = [line for line in shared.said().splitlines() if "is ready" in line]
    assert demo["url"] in line
    assert demo["username"] in line
    assert demo["password"] in line
    assert get(f"{shared.url}/readyz") == 200


def test_secrets_are_for_their_owner_only(shared: RunningPortal) -> None:
    for name in ("demo.json", "secrets.json", "portal.env"):
        assert (shared.data / name).stat().st_mode & 0o777 == 0o600


def test_everything_runs(shared: RunningPortal) -> None:
    assert set(shared.pids()) >= CHILDREN


def test_commands_beside_it_find_its_database(shared: RunningPortal) -> None:
    code = "from portal.accounts.models import User; print(User.objects.get(username='demo').is_staff)"
    command = [sys.executable, "manage.py", "shell", "-v", "0", "-c", code]
    env = bare_environment() | {"PORTAL_DATA": str(shared.data)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr


def test_a_second_up_on_the_same_data_is_refused_and_harms_nothing(shared: RunningPortal) -> None:
    done = up(shared.data, "--port", "0")
    assert is_one_sentence(done), done.stderr
    assert f"Another `up` (process {shared.process.pid}) runs on {shared.data}" in done.stderr
    assert get(f"{shared.url}/readyz") == 200


def test_a_taken_port_is_refused_before_anything_starts(shared: RunningPortal, data: Path) -> None:
    port = shared.url.rpartition(":")[2]
    done = up(data, "--port", port)
    assert is_one_sentence(done), done.stderr
    assert f"Port {port} is taken by " in done.stderr
    assert not (data / "postgres.path").exists()


@pytest.mark.parametrize("name", sorted(CHILDREN))
def test_a_killed_child_is_back_within_seconds(shared: RunningPortal, name: str) -> None:
    before = shared.pids()
    took_s = shared.wait_for_another(name, shared.kill(name))
    assert took_s < 4
    others = {child: pid for child, pid in before.items() if child not in {name, "start"}}
    time.sleep(0.5)
    assert {child: shared.pids()[child] for child in others if child != name} == {
        child: pid for child, pid in others.items() if child != name
    }


def test_a_child_that_is_killed_again_and_again_is_never_given_up(shared: RunningPortal) -> None:
    """supervisor's own count of retries would end here; between quick ends there are at most three seconds."""
    for _ in range(6):
        assert shared.wait_for_another("redis", shared.kill("redis")) < 5


def test_the_portal_is_ready_again_after_every_child_was_killed(shared: RunningPortal) -> None:
    for name in CHILDREN:
        shared.kill(name)
    deadline = time.monotonic() + 30
    while True:
        try:
            if get(f"{shared.url}/readyz") == 200:
                break
        except OSError:
            assert time.monotonic() < deadline, shared.report()
        time.sleep(0.2)
    assert set(shared.pids()) >= CHILDREN


def test_a_stop_leaves_nothing_running_and_the_next_start_finds_its_data(lived_in: Path) -> None:
    first = RunningPortal.start(lived_in)
    demo = first.demo
    assert first.stop() == 0
    assert "Stopping OpenManager" in first.said()
    assert nothing_runs(lived_in, 1)

    second = RunningPortal.start(lived_in)
    addresses = {"url": "", "intake_url": "", "live_url": ""}
    assert second.demo | addresses == demo | addresses
    os.killpg(second.process.pid, signal.SIGINT)  # Ctrl-C: the terminal tells the whole foreground
    assert second.process.wait(30) == 0
    assert nothing_runs(lived_in, 1)


def test_a_killed_up_takes_its_children_with_it_and_the_next_one_starts(lived_in: Path) -> None:
    first = RunningPortal.start(lived_in)
    first.process.kill()
    first.process.wait()
    second = RunningPortal.start(lived_in)  # at once: what is left over must not be in the way
    assert get(f"{second.url}/readyz") == 200
    second.process.kill()
    second.process.wait()
    assert nothing_runs(lived_in, 15)


def test_after_a_power_cut_everything_that_was_committed_is_there(lived_in: Path) -> None:
    first = RunningPortal.start(lived_in)
    url = read_env_file(lived_in / "portal.env")["DATABASE_URL"]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE promise AS SELECT 42 AS answer")
    for process in processes_of(lived_in):
        process.kill()
    first.process.wait()

    second = RunningPortal.start(lived_in)
    try:
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT answer FROM promise").fetchone() == (42,)
    finally:
        second.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_stops_while_it_still_starts(data: Path, number: signal.Signals) -> None:
    portal = RunningPortal.launch(data)
    while "Preparing the database" not in portal.said():
        assert portal.process.poll() is None, portal.report()
        time.sleep(0.02)
    os.killpg(portal.process.pid, number)
    portal.process.wait(30)
    assert nothing_runs(data, 1)
    assert "Traceback" not in portal.said()


def test_it_gets_ready_under_a_public_name_alone(lived_in: Path) -> None:
    environment = bare_environment() | {
        "PORTAL_URL": "https://monitor.example.org",
        "PORTAL_HOSTS": "monitor.example.org",
    }
    command = [sys.executable, "manage.py", "up", "--data", str(lived_in), "--port", "0", "--servers", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        said = next((line for line in started.stdout if "OpenManager is ready" in line), "")
        started.send_signal(signal.SIGTERM)
    assert "ready: https://monitor.example.org/ " in said


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORTAL_DEBUG", "yes", "PORTAL_DEBUG='yes': use 0 or 1"),
        ("PORTAL_URL", "monitor", "PORTAL_URL='monitor' is no address of a web site."),
        ("PORTAL_HOSTS", "*", "PORTAL_HOSTS contains *"),
        ("PORTAL_SECRET_KEY", "short", "PORTAL_SECRET_KEY is too short"),
        ("PORTAL_SCRAPE_ALLOW", "127.0.0.1:1-9", "PORTAL_SCRAPE_ALLOW: '127.0.0.1:1-9' is no place"),
        ("PORTAL_MAIL_FROM", "the portal", "PORTAL_MAIL_FROM='the portal' is no mail address"),
        ("ALLOWED_ORIGINS", "example.org", "ALLOWED_ORIGINS: 'example.org' is no origin"),
    ],
)
def test_a_wrong_setting_is_one_sentence(lived_in: Path, name: str, value: str, sentence: str) -> None:
    done = up(lived_in, "--port", "0", **{name: value})
    assert is_one_sentence(done), done.stderr
    assert done.stderr.startswith(f"A setting is wrong: {sentence}")
    assert nothing_runs(lived_in, 1)


def test_a_web_process_that_cannot_start_is_not_waited_for(lived_in: Path, tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('broken on purpose')\n")
    done = up(lived_in, "--port", "0", PYTHONPATH=str(tmp_path))
    assert is_one_sentence(done), done.stderr
    assert done.stderr.startswith("The web process ends as soon as it starts; ")
    assert "broken on purpose" in done.stderr

    RunningPortal.start(lived_in).stop()  # and once it is mended, the failures are forgotten


def test_services_that_are_given_are_not_started(data: Path) -> None:
    """The tests' own PostgreSQL, Redis and mail play somebody else's."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        connection.execute("CREATE DATABASE given")
    given = os.environ["DATABASE_URL"].replace("/openmanager?", "/given?")
    env = {"DATABASE_URL": given, "REDIS_URL": os.environ["REDIS_URL"], "EMAIL_URL": os.environ["EMAIL_URL"]}
    portal = RunningPortal.start(data, env=env)
    try:
        assert set(portal.pids()) - {"start"} == CHILDREN - {"postgres", "redis", "mail"}
        assert "DATABASE_URL" not in (data / "portal.env").read_text()
    finally:
        portal.stop()


def test_a_given_service_that_does_not_answer_is_named(lived_in: Path) -> None:
    done = up(lived_in, "--port", "0", REDIS_URL="redis://127.0.0.1:9/0")
    assert is_one_sentence(done), done.stderr
    assert done.stderr.startswith("REDIS_URL names 127.0.0.1, and nothing usable answers there.")


def test_the_demo_file_is_json_with_two_different_tokens(shared: RunningPortal) -> None:
    demo = json.loads((shared.data / "demo.json").read_text())
    assert set(demo) == {"url", "username", "password", "push_token", "read_token", "intake_url", "live_url"}
    assert demo["intake_url"] == demo["live_url"] == demo["url"].rstrip("/")
    assert demo["push_token"] != demo["read_token"]
