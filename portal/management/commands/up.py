"""`manage.py up`: the whole portal on this machine, in the foreground, until Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import sys
from argparse import ArgumentTypeError
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from portal.embedded import mail
from portal.embedded.address import host_names, listen, listen_udp, public_url
from portal.embedded.errors import StartError, of_disk
from portal.embedded.folders import open_data, socket_folder, write_private
from portal.embedded.kept import Kept
from portal.embedded.postgres import home_for
from portal.embedded.processes import end_left_overs
from portal.embedded.programs import portal_programs, supervisor_config
from portal.embedded.services import ROOT, VARIABLES, Place, Service, as_child, prepare

MOST_OPEN_FILES = 65_536  # every live socket is one
MOST_PROCESSES = 8


@dataclass(frozen=True)
class Doors:
    """Where the portal listens, each None when the web processes do that too, and how many processes share it."""

    host: str
    port: int
    live_port: int | None = None
    intake_port: int | None = None
    syslog_port: int | None = None
    web: int = 1
    live: int = 0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Doors:
        return cls(
            options["host"],
            options["port"],
            live_port=_port(options, "live", 2) if options["live"] else None,
            intake_port=_port(options, "intake", 1) if options["intake"] else None,
            syslog_port=options["syslog"],
            web=options["web"],
            live=options["live"],
        )

    def listen(self) -> dict[str, socket.socket]:
        """Raises StartError when a port cannot be had."""
        wanted = {"web": (self.port, "--port")}
        if self.live_port is not None:
            wanted["live"] = (self.live_port, "--live-port")
        if self.intake_port is not None:
            wanted["intake"] = (self.intake_port, "--intake-port")
        with ExitStack() as opened:
            listeners = {
                door: opened.enter_context(listen(self.host, port, option)) for door, (port, option) in wanted.items()
            }
            if self.syslog_port is not None:
                tcp = opened.enter_context(listen(self.host, self.syslog_port, "--syslog"))
                udp = opened.enter_context(listen_udp(self.host, tcp.getsockname()[1], "--syslog"))
                listeners |= {"syslog": tcp, "syslog-udp": udp}
            opened.pop_all()  # all or none
            return listeners


class Command(BaseCommand):
    help = "Run the whole portal here: PostgreSQL, Redis, mail, web, workers and beat, until Ctrl-C."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: %(default)s)")
        parser.add_argument(
            "--web", type=int, choices=range(1, MOST_PROCESSES + 1), default=1, help="web processes (default: 1)"
        )
        parser.add_argument(
            "--live",
            type=int,
            choices=range(MOST_PROCESSES + 1),
            default=0,
            help="processes of their own for what is pushed to pages (default: 0, the web processes do it)",
        )
        parser.add_argument(
            "--live-port", type=int, help="where those listen, 0 takes a free one (default: the second after --port)"
        )
        parser.add_argument(
            "--intake", type=int, choices=(0, 1), default=0, help="1: what programs send gets a process of its own"
        )
        parser.add_argument(
            "--intake-port", type=int, help="where that listens, 0 takes a free one (default: the port after --port)"
        )
        parser.add_argument(
            "--syslog", type=int, metavar="PORT", help="listen for syslog there, TCP and UDP; 0 takes a free one"
        )
        parser.add_argument(
            "--data",
            default=os.environ.get("PORTAL_DATA") or str(ROOT / "var"),
            help="data folder (default: %(default)s)",
        )
        parser.add_argument("--servers", type=_servers, default=30, help="simulated servers (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Does not return: this process becomes the supervisor, and the lock on the data folder goes with it."""
        try:
            command = assemble(Path(options["data"]).absolute(), options["servers"], Doors.of(options))
        except StartError as error:
            sys.exit(str(error))
        except OSError as error:
            sys.exit(str(of_disk(error, str(error.filename or options["data"]))))
        except KeyboardInterrupt:
            sys.exit(130)
        sys.stdout.flush()
        os.execv(command[0], command)  # noqa: S606 (no shell is meant)


def assemble(data: Path, servers: int, doors: Doors) -> list[str]:
    """Lay everything out in `data` and in this process's environment; the command that runs it. Raises StartError."""
    data = open_data(data)
    hold_lock(data)
    kept = Kept.read_or_make(data)
    if ended := end_left_overs(data / "run"):
        print(f"Ended what an earlier run had left: {', '.join(ended)}", flush=True)
    listeners = doors.listen()
    ports = {door: listener.getsockname()[1] for door, listener in listeners.items()}
    fds = {door: listener.detach() for door, listener in listeners.items()}  # for good
    print("Starting PostgreSQL, Redis and mail …", flush=True)
    services = prepare_services(data, kept)
    set_environment(data, kept, services, doors.host, ports)
    raise_open_files()
    sockets = socket_folder(data / "run")
    config = data / "run" / "supervisord.conf"
    programs = portal_programs(data / "run", fds, web=doors.web, live=doors.live)
    config.write_text(supervisor_config(data, sockets, services, programs))
    own = ",".join(service.name for service in services)
    start = [sys.executable, "-m", "portal.embedded.start", str(data), "--servers", str(servers), "--own", own]
    for door, port in ports.items():
        if door != "syslog-udp":  # which has the number of the other
            start += [f"--{door}", public_url(doors.host, port)]
    starter = as_child("start", data / "run", signal.SIGTERM, start)
    os.chdir(ROOT)
    for fd in fds.values():
        os.set_inheritable(fd, True)
    held = ",".join(map(str, fds.values()))
    return [sys.executable, "-m", "portal.embedded.supervise", str(config), held, *starter]


def hold_lock(data: Path) -> None:
    """For the life of this process and of the supervisor that it becomes; the kernel lets go of it even at kill -9."""
    handle = os.open(data / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 100).decode(errors="replace").strip()
        raise StartError(
            f"Another `up` (process {holder or 'unknown'}) runs on {data}: stop it, or choose a folder with --data."
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())
    os.set_inheritable(handle, True)


def prepare_services(data: Path, kept: Kept) -> list[Service]:
    sockets = socket_folder(data / "run")
    home = data / "postgres" if os.environ.get(VARIABLES["postgres"]) else home_for(data)
    place = Place(data / "run", sockets, home, socket_folder(home), data / "mail")
    return prepare(os.environ, place, kept.postgres_password, mail.free_port())


def set_environment(data: Path, kept: Kept, services: list[Service], host: str, ports: Mapping[str, int]) -> None:
    """What all processes read. What was decided here, not given, is kept for commands beside a running `up`.

    With a PORTAL_URL that was given there is a proxy, which knows the live processes and hides their port.
    """
    decided = {
        **{VARIABLES[service.name]: service.url for service in services},
        "PORTAL_SECRET_KEY": kept.secret_key,
        "PORTAL_ENCRYPTION_KEYS": kept.encryption_key,
        "PORTAL_URL": public_url(host, ports["web"]),
        "PORTAL_HOSTS": ",".join(host_names(host)),
    }
    if "live" in ports and not os.environ.get("PORTAL_URL", "").strip():
        decided["PORTAL_LIVE_PORT"] = str(ports["live"])
    decided = {name: value for name, value in decided.items() if not os.environ.get(name, "").strip()}
    write_private(data / "portal.env", "".join(f"{name}={value}\n" for name, value in decided.items()))
    os.environ.update(decided)
    os.environ["PORTAL_DATA"] = str(data)


def raise_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _port(options: Mapping[str, Any], door: str, after: int) -> int:
    given: int | None = options[f"{door}_port"]
    if given is None:
        return options["port"] + after if options["port"] else 0
    return given


def _servers(text: str) -> int:
    if not text.isdecimal() or int(text) > 20_000:
        raise ArgumentTypeError(f"{text!r}: use a whole number from 0 to 20000")
    return int(text)
