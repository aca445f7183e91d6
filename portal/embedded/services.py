"""The three services that a portal needs, each private to it and left out when its URL is given in the environment."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portal.embedded import mail, postgres, redis

CHILD = Path(__file__).with_name("child.py")
ROOT = Path(__file__).resolve().parent.parent.parent
VARIABLES = {"postgres": "DATABASE_URL", "redis": "REDIS_URL", "mail": "EMAIL_URL"}


@dataclass(frozen=True)
class Service:
    """One program, run in the foreground by whoever starts it, and how the portal reaches it."""

    name: str
    url: str
    command: list[str]
    stop: signal.Signals


@dataclass(frozen=True)
class Place:
    """Where the services of one portal keep their things."""

    run: Path  # notes of running processes, configuration
    sockets: Path  # with a path short enough for a socket
    postgres: Path  # the cluster's home
    postgres_sockets: Path
    mail: Path


def as_child(name: str, run: Path, stop: signal.Signals, command: Sequence[str], *extra: str) -> list[str]:
    """`command` under child.py: noted as `run`/`name`.pid, and ended with `stop` when its parent dies."""
    note = run / f"{name}.pid"
    return [
        *(sys.executable, "-I", "-S", str(CHILD), "--note", str(note), "--signal", str(int(stop))),
        *(*extra, "--", *command),
    ]


def prepare(
    given: Mapping[str, str], place: Place, password: str, mail_port: int, *, throw_away: bool = False
) -> list[Service]:
    """What `given` (an environment) names no URL for, ready to be started. Raises StartError."""
    makers: dict[str, Callable[[], Service]] = {
        "redis": lambda: _redis(place),  # first, as a machine may have none: it is told before anything is made
        "mail": lambda: _mail(place, mail_port),
        "postgres": lambda: _postgres(place, password, throw_away=throw_away),
    }
    return [make() for name, make in makers.items() if not given.get(VARIABLES[name], "").strip()]


def is_ready(name: str, url: str, timeout_s: float) -> bool:
    """Whether the private service `name` answered at `url` within `timeout_s`; the database is made then."""
    if name == "mail":
        return mail.wait_until_ready(url, timeout_s)
    if name == "redis":
        return redis.wait_until_ready(url, timeout_s)
    if not postgres.wait_until_ready(url, timeout_s):
        return False
    postgres.create_database(url)
    return True


def _postgres(place: Place, password: str, *, throw_away: bool) -> Service:
    cluster = postgres.prepare(place.postgres, place.postgres_sockets, password, throw_away=throw_away)
    extra = ["--postgres", str(cluster.data), *(["--user", cluster.account] if cluster.account else [])]
    for file in cluster.lock_files():
        extra += ["--stale", str(file)]
    # SIGINT is PostgreSQL's "fast": SIGTERM would wait for every client to leave.
    command = as_child("postgres", place.run, signal.SIGINT, cluster.command(), *extra)
    return Service("postgres", cluster.url, command, signal.SIGINT)


def _redis(place: Place) -> Service:
    config = redis.write_config(place.run, place.sockets)
    command = as_child("redis", place.run, signal.SIGTERM, [redis.binary(), str(config)])
    return Service("redis", redis.url_of(place.sockets), command, signal.SIGTERM)


def _mail(place: Place, port: int) -> Service:
    program = [sys.executable, "-m", "portal.embedded.mail", str(port), str(place.mail)]
    command = as_child("mail", place.run, signal.SIGTERM, program)
    return Service("mail", mail.url_of(port), command, signal.SIGTERM)
