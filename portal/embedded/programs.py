"""What supervisor runs: the private services first, then the portal's own processes, each brought back when it dies."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portal.embedded.errors import StartError
from portal.embedded.services import ROOT, Service, as_child

SERVICES, PORTAL = "services", "portal"
SOCKET = "supervisor.sock"


@dataclass(frozen=True)
class Program:
    name: str
    command: list[str]
    stop: signal.Signals = signal.SIGTERM
    stop_within_s: int = 10


def portal_programs(run: Path, doors: Mapping[str, int], *, web: int = 1, live: int = 0) -> list[Program]:
    """Web, the two workers and beat: one process each, as a process with everything loaded takes 100 MB.

    More of them with `web`; `live` processes for sockets, SSE and polling; one for what programs send and one for
    syslog when there are such doors. `doors`: "web", "live", "intake", "syslog", "syslog-udp" → the listening socket
    (its number) that their processes share.
    """
    celery = ["celery", "-A", "portal"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    beat = [*celery, "beat", "--schedule", str(run / "beat-schedule"), "--pidfile", "", "--loglevel", "WARNING"]
    modules = {
        **{name: _server("web", doors["web"]) for name in numbered("web", web)},
        **{name: _server("live", doors["live"]) for name in numbered("live", live)},
        "worker-fast": [*celery, "worker", "-n", "fast@portal", "-Q", "fast", "--pool", "threads", "-c", "8", *quiet],
        "worker-bulk": [*celery, "worker", "-n", "bulk@portal", "-Q", "bulk", "--pool", "threads", "-c", "2", *quiet],
        "beat": beat,
    }
    if "intake" in doors:
        modules["intake"] = _server("intake", doors["intake"])
    if "syslog" in doors:
        sockets = ["--fd", str(doors["syslog"]), "--udp-fd", str(doors["syslog-udp"])]
        modules["syslog"] = ["portal.embedded.syslog", *sockets]
    return [
        Program(name, as_child(name, run, signal.SIGTERM, [sys.executable, "-m", *arguments]))
        for name, arguments in modules.items()
    ]


def numbered(name: str, count: int) -> list[str]:
    """The first is called as if it were the only one: web, web-2, web-3."""
    return [name if number == 1 else f"{name}-{number}" for number in range(1, count + 1)]


def _server(door: str, fd: int) -> list[str]:
    return ["portal.embedded.serve", door, "--fd", str(fd)]


def supervisor_config(data: Path, sockets: Path, services: Iterable[Service], portal: Iterable[Program]) -> str:
    """supervisord.conf. The portal's group waits until somebody starts it: the database must be migrated first."""
    own = [Program(service.name, service.command, service.stop, 20) for service in services]
    groups = [(SERVICES, own, True, 10), (PORTAL, list(portal), False, 20)]
    lines = [
        "[supervisord]",
        "nodaemon = true",
        "silent = true",
        f"logfile = {_plain(data / 'logs' / 'supervisor.log')}",
        "logfile_maxbytes = 5MB",
        "logfile_backups = 1",
        f"pidfile = {_plain(data / 'run' / 'supervisord.txt')}",
        f"directory = {_plain(ROOT)}",
        "[unix_http_server]",
        f"file = {_plain(sockets / SOCKET)}",
        "chmod = 0700",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for group, programs, at_once, priority in groups:
        if programs:  # stopped in the order of falling priority: the portal before its services
            names = ",".join(program.name for program in programs)
            lines += [f"[group:{group}]", f"programs = {names}", f"priority = {priority}"]
        for program in programs:
            lines += _section(program, data / "logs" / f"{program.name}.log", at_once=at_once)
    return "\n".join(lines) + "\n"


def _section(program: Program, log: Path, *, at_once: bool) -> Sequence[str]:
    """startsecs = 0: supervisor then restarts for ever and at once; child.py makes the pauses between failed starts."""
    return [
        f"[program:{program.name}]",
        f"command = {_plain(shlex.join(program.command))}",
        f"directory = {_plain(ROOT)}",
        f'environment = PORTAL_PROCESS="{program.name}"',
        f"autostart = {str(at_once).lower()}",
        "autorestart = true",
        "startsecs = 0",
        f"stopsignal = {program.stop.name.removeprefix('SIG')}",
        f"stopwaitsecs = {program.stop_within_s}",
        "stopasgroup = true",
        "killasgroup = true",
        "redirect_stderr = true",
        f"stdout_logfile = {_plain(log)}",
        "stdout_logfile_maxbytes = 10MB",
        "stdout_logfile_backups = 2",
    ]


def _plain(value: str | Path) -> str:
    """`value` as supervisor's configuration reads it back: it expands %(name)s, and cuts at " ;" and " #"."""
    text = str(value)
    if " ;" in text or " #" in text or "\n" in text:
        raise StartError(f"{text}: a folder with ' ;' or ' #' in its name cannot be used, choose another.")
    return text.replace("%", "%%")
