"""Debian's PostgreSQL for tests that need more than the portal's own: passwords, an extension, a replica."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

PASSWORD = "s3cret-of-the-cluster"


@dataclass(frozen=True)
class Pair:
    """Ports of a primary with pg_stat_statements and of its replica; role postgres, PASSWORD, over TCP."""

    primary: int
    replica: int

    def execute(self, statement: str) -> None:
        with psycopg.connect(conninfo(self.primary), autocommit=True) as connection:
            connection.execute(statement)


def conninfo(port: int) -> str:
    return f"host=127.0.0.1 port={port} user=postgres password={PASSWORD} dbname=postgres"


@contextmanager
def running_pair() -> Iterator[Pair]:
    """Skips the test where Debian's PostgreSQL is not installed."""
    binaries = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    if binaries is None:
        pytest.skip("Debian's PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="om-pg-"))
    pair, started = Pair(_free_port(), _free_port()), []
    try:
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(folder, account.pw_uid, account.pw_gid)
        _prepare_primary(binaries, folder, pair.primary)
        started.append(_start(binaries, folder / "primary", folder, pair.primary))
        base = ["-D", str(folder / "replica"), "-d", conninfo(pair.primary), "-R", "-X", "stream", "-c", "fast"]
        _run([str(binaries / "pg_basebackup"), *base])
        started.append(_start(binaries, folder / "replica", folder, pair.replica))
        yield pair
    finally:
        for server in reversed(started):
            server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            server.wait(30)
        shutil.rmtree(folder)


def _prepare_primary(binaries: Path, folder: Path, port: int) -> None:
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    asks = ["--auth=scram-sha-256", f"--pwfile={secret}", "-U", "postgres", "--no-sync"]
    _run([str(binaries / "initdb"), "-D", str(folder / "primary"), *asks])


def _start(binaries: Path, data: Path, sockets: Path, port: int) -> subprocess.Popen[bytes]:
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": sockets,
        "shared_preload_libraries": "pg_stat_statements",
        "fsync": "off",
    }
    command = [str(binaries / "postgres"), "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())]
    server = subprocess.Popen(_as_postgres(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(150):
        try:
            psycopg.connect(conninfo(port)).close()
        except psycopg.OperationalError:
            assert server.poll() is None, "it ended"
            time.sleep(0.1)
        else:
            return server
    raise AssertionError("it does not answer")


def _run(command: list[str]) -> None:
    subprocess.run(_as_postgres(command), check=True, capture_output=True, timeout=60)


def _as_postgres(command: list[str]) -> list[str]:
    """PostgreSQL refuses to be run by root."""
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        if os.geteuid() == 0
        else command
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
