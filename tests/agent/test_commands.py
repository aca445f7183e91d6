"""`--check`, `--install` and what is said when something is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.agent.conftest import TOKEN, Catcher, Machine

UNIT = ".config/systemd/user/openmanager-agent.service"
ENVIRONMENT = ".config/openmanager-agent/environment"
PROGRAM = ".local/lib/openmanager-agent/agent.py"


def test_check_says_that_all_is_well(machine: Machine, catcher: Catcher) -> None:
    result = machine.ask("--check")
    assert result.returncode == 0, result.stderr
    assert "All is well" in result.stdout
    assert len(catcher.taken) == 1


@pytest.mark.parametrize(
    ("status", "said", "words"),
    [
        (401, {"message": "nobody knows this token"}, "refuses the token: nobody knows this token"),
        (404, {"message": "nothing"}, "is no OpenManager"),
        (200, {}, "answers 200"),
        (503, {"message": "the database is away"}, "answers 503: the database is away"),
        (400, {"kept": 0, "refused": [{"where": "web-1", "reason": "not yours"}]}, "refused others: web-1: not yours"),
    ],
)
def test_check_says_what_is_wrong(
    agent: ModuleType, catcher: Catcher, capsys: Any, monkeypatch: Any, status: int, said: dict[str, object], words: str
) -> None:
    catcher.answer = lambda _: (status, said, {})
    monkeypatch.setattr(agent, "FIRST_S", 0.02)
    assert agent.main(["--check", "--url", catcher.url, "--token", TOKEN]) == 1
    assert words in capsys.readouterr().out


def test_check_says_that_nobody_is_there(machine: Machine, catcher: Catcher) -> None:
    catcher.close()
    result = machine.ask("--check")
    assert result.returncode == 1
    assert "cannot be reached" in result.stdout
    assert "nothing listens there" in result.stdout


def test_the_token_may_be_in_the_environment(machine: Machine, catcher: Catcher) -> None:
    result = subprocess.run(
        machine.command("--check"), env=machine.environment(OPENMANAGER_TOKEN="omp_other"), check=False, timeout=30
    )
    assert result.returncode == 0
    assert catcher.headers[0]["Authorization"] == "Bearer omp_other"


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "Ü"])
def test_without_a_token_that_can_be_sent_it_says_so(machine: Machine, catcher: Catcher, token: str) -> None:
    machine.token_file.write_text(token)
    result = machine.ask()
    assert result.returncode == 1
    assert "a token is needed" in result.stderr
    assert catcher.bodies == []


def test_without_a_url_it_says_so(machine: Machine) -> None:
    machine.url = ""
    assert "--url https://" in machine.ask("--check").stderr


def test_help_says_that_a_token_in_the_command_is_seen_by_all(machine: Machine) -> None:
    assert "everyone on this machine sees it" in " ".join(machine.ask("--help").stdout.split())


def path_with(folder: Path, **scripts: str) -> str:
    """A PATH with these programs and no other."""
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_install_makes_a_service_of_ones_own_account(machine: Machine) -> None:
    asked = machine.home / "asked"
    path = path_with(machine.home / "bin", systemctl=f'echo "$@" >> {asked}')
    result = machine.ask("--install", "--user", "--interval", "30", PATH=path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert asked.read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable openmanager-agent",
        "--user restart openmanager-agent",
    ]
    assert "loginctl enable-linger" in result.stdout
    unit = (machine.home / UNIT).read_text()
    assert f"ExecStart={sys.executable} {machine.home / PROGRAM} --url {machine.url} --name web-1" in unit
    assert "--interval 30" in unit
    assert TOKEN not in unit
    assert (machine.home / ENVIRONMENT).read_text() == f"OPENMANAGER_TOKEN={TOKEN}\n"
    assert (machine.home / ENVIRONMENT).stat().st_mode & 0o777 == 0o600


def test_the_installed_command_works(machine: Machine, catcher: Catcher) -> None:
    machine.ask("--install", "--user", PATH=path_with(machine.home / "bin"))
    line = next(line for line in (machine.home / UNIT).read_text().splitlines() if line.startswith("ExecStart="))
    command = f"set -a; . {machine.home / ENVIRONMENT}; exec {line.removeprefix('ExecStart=')} --check"
    result = subprocess.run(["/bin/sh", "-c", command], env={}, capture_output=True, text=True, timeout=30, check=False)
    assert "All is well" in result.stdout
    assert catcher.headers[0]["Authorization"] == f"Bearer {TOKEN}"


def test_install_without_systemd_says_what_to_do(machine: Machine) -> None:
    result = machine.ask("--install", "--user", PATH=path_with(machine.home / "bin"))
    assert result.returncode == 0
    assert "There is no systemctl here" in result.stdout
    assert f". {machine.home / ENVIRONMENT}; exec {sys.executable}" in result.stdout
    assert TOKEN not in result.stdout


def test_install_says_when_systemd_does_not_run(machine: Machine) -> None:
    result = machine.ask("--install", "--user", PATH=path_with(machine.home / "bin", systemctl="exit 1"))
    assert result.returncode == 1
    assert "systemctl --user enable --now openmanager-agent" in result.stdout


def test_uninstall_leaves_nothing(machine: Machine) -> None:
    asked = machine.home / "asked"
    path = path_with(machine.home / "bin", systemctl=f'echo "$@" >> {asked}')
    machine.ask("--install", "--user", PATH=path)
    machine.spool.mkdir(parents=True)
    result = machine.ask("--uninstall", "--user", PATH=path)
    assert result.returncode == 0
    assert "--user disable --now openmanager-agent" in asked.read_text()
    assert [path.name for path in machine.home.rglob("*agent*") if "agent-" not in path.name] == []
    assert not machine.spool.exists()


def test_the_service_of_the_machine_is_locked_up_and_its_unit_is_right(machine: Machine) -> None:
    if subprocess.run(["id", "-u"], capture_output=True, check=True).stdout.strip() != b"0":
        pytest.skip("only root installs for the machine")
    image = machine.home / "image"
    result = machine.ask(
        "--install", "--destination", str(image), "--description", 'a "100 %" $HOME\\x', "--name", "db 1"
    )
    assert result.returncode == 0, result.stderr
    written = image / "etc/systemd/system/openmanager-agent.service"
    unit = written.read_text()
    assert {"DynamicUser=yes", "StateDirectory=openmanager-agent", "NoNewPrivileges=yes"} <= set(unit.splitlines())
    assert '--description "a \\"100 %%\\" $$HOME\\\\x"' in unit
    assert (image / "etc/openmanager-agent/environment").stat().st_mode & 0o777 == 0o600
    if verify := shutil.which("systemd-analyze"):
        program = image / "usr/local/lib/openmanager-agent/agent.py"
        written.write_text(unit.replace("/usr/local/lib/openmanager-agent/agent.py", str(program)))
        checked = subprocess.run([verify, "verify", str(written)], capture_output=True, text=True, check=False)
        assert "openmanager-agent.service" not in checked.stderr, checked.stderr
