"""`up --web N --live N --intake 1`: what is asked for, where it listens, and who gets which listening socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError

from portal.embedded.errors import StartError
from portal.embedded.kept import Kept
from portal.embedded.programs import Program, portal_programs, supervisor_config
from portal.embedded.services import ROOT
from portal.management.commands.up import Command, Doors, set_environment


def doors(*arguments: str) -> Doors:
    parser = Command().create_parser("manage.py", "up")
    return Doors.of(vars(parser.parse_args(list(arguments))))


def fds(programs: list[Program]) -> dict[str, str]:
    """Program → the listening socket that it is told of."""
    return {
        program.name: program.command[program.command.index("--fd") + 1]
        for program in programs
        if "--fd" in program.command
    }


def test_by_itself_there_is_one_web_process_that_does_everything() -> None:
    assert doors() == Doors("127.0.0.1", 8000, web=1, live=0)


def test_every_door_has_a_port_of_its_own_beside_the_first() -> None:
    asked = doors("--port", "9000", "--web", "2", "--live", "1", "--intake", "1")
    assert asked == Doors("127.0.0.1", 9000, live_port=9002, intake_port=9001, web=2, live=1)


def test_a_door_listens_where_it_is_told_to() -> None:
    asked = doors("--port", "0", "--live", "2", "--live-port", "9443", "--intake", "1")
    assert (asked.live_port, asked.intake_port) == (9443, 0)


@pytest.mark.parametrize("wrong", [("--web", "0"), ("--web", "9"), ("--live", "-1"), ("--live", "9"), ("--web", "two")])
def test_a_number_of_processes_that_makes_no_sense_is_refused(wrong: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match=f"argument {wrong[0]}: invalid"):
        doors(*wrong)


def test_a_taken_port_names_the_option_that_chooses_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"Port {taken} is taken .*: choose another with --live-port\."):
            Doors("127.0.0.1", 0, live_port=taken, live=1).listen()


def test_processes_of_a_door_share_its_socket_and_the_first_has_the_usual_name(tmp_path: Path) -> None:
    programs = portal_programs(tmp_path, {"web": 5, "live": 6, "intake": 7}, web=3, live=2)
    assert fds(programs) == {"web": "5", "web-2": "5", "web-3": "5", "live": "6", "live-2": "6", "intake": "7"}


def test_syslog_has_one_number_for_both_of_its_sockets_and_a_process(tmp_path: Path) -> None:
    with ExitStack() as opened:
        listeners = doors("--port", "0", "--syslog", "0").listen()
        for listener in listeners.values():
            opened.enter_context(listener)
        assert listeners["syslog"].getsockname() == listeners["syslog-udp"].getsockname()
    [syslog] = [
        each for each in portal_programs(tmp_path, {"web": 5, "syslog": 6, "syslog-udp": 7}) if "sys" in each.name
    ]
    assert syslog.command[-5:] == ["portal.embedded.syslog", "--fd", "6", "--udp-fd", "7"]


def test_without_doors_of_their_own_there_are_no_processes_for_them(tmp_path: Path) -> None:
    assert {each.name for each in portal_programs(tmp_path, {"web": 5})} == {
        "web",
        "worker-fast",
        "worker-bulk",
        "beat",
    }


def test_each_process_is_told_its_name(tmp_path: Path) -> None:
    config = supervisor_config(tmp_path, tmp_path, [], portal_programs(tmp_path, {"web": 5}, web=2))
    assert 'environment = PORTAL_PROCESS="web-2"' in config.partition("[program:web-2]")[2].partition("[program:")[0]


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, str]]:
    """The environment of the portal's processes, by the ports of its doors and what was given."""

    def tell(ports: dict[str, int], **given: str) -> dict[str, str]:
        environment: dict[str, Any] = dict(given)
        monkeypatch.setattr(os, "environ", environment)
        set_environment(tmp_path, Kept("s", "p", "d", "t", "r", "e"), [], "127.0.0.1", ports)
        return environment

    return tell


def test_pages_are_told_the_port_of_the_live_processes(told: Callable[..., dict[str, str]]) -> None:
    assert told({"web": 8000, "live": 8002})["PORTAL_LIVE_PORT"] == "8002"
    assert "PORTAL_LIVE_PORT" not in told({"web": 8000})


def test_behind_a_proxy_pages_know_no_other_port(told: Callable[..., dict[str, str]]) -> None:
    assert "PORTAL_LIVE_PORT" not in told({"web": 8000, "live": 8002}, PORTAL_URL="https://monitor.example.org")


def test_a_port_that_was_given_is_told_as_it_is(told: Callable[..., dict[str, str]]) -> None:
    given = {"PORTAL_URL": "https://monitor.example.org", "PORTAL_LIVE_PORT": "8443"}
    assert told({"web": 8000, "live": 8002}, **given)["PORTAL_LIVE_PORT"] == "8443"


def test_a_door_is_served_on_a_port_of_its_own_unless_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "portal.embedded.serve", "live", "--port", port]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Port {port} is taken by ")
