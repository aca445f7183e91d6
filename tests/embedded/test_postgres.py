"""The private PostgreSQL, run for real."""

from __future__ import annotations

import os
import pwd
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from portal.embedded import postgres
from portal.embedded.errors import StartError
from portal.embedded.processes import noted
from portal.embedded.services import Place, Service, is_ready, prepare
from portal.embedded.throwaway import running

pytestmark = pytest.mark.slow

GIVEN = {"REDIS_URL": "redis://elsewhere", "EMAIL_URL": "smtp://elsewhere"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes accounts")


def make(folder: Path, *, throw_away: bool = True) -> Service:
    place = Place(folder, folder, folder / "postgres", folder / "postgres", folder / "mail")
    (service,) = prepare(GIVEN, place, "a secret", 0, throw_away=throw_away)
    return service


@contextmanager
def started(folder: Path, *, throw_away: bool = True) -> Iterator[Service]:
    service = make(folder, throw_away=throw_away)
    with running(service, folder / "log"):
        assert is_ready(service.name, service.url, 20), (folder / "log").read_text()
        yield service


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with tempfile.TemporaryDirectory(prefix="om-") as name:
        Path(name).chmod(0o711)
        with started(Path(name), throw_away=False) as service:
            yield service


def test_it_lets_in_who_has_the_password(server: Service) -> None:
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("openmanager",)


def test_it_refuses_a_wrong_password(server: Service) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url.replace("a%20secret", "guessed"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("jit", "off"),
        ("max_wal_size", "2GB"),
        ("password_encryption", "scram-sha-256"),
        ("server_encoding", "UTF8"),
    ],
)
def test_it_is_set_up_to_keep_what_it_commits_and_to_listen_to_nobody_else(
    server: Service, name: str, value: str
) -> None:
    with psycopg.connect(server.url) as connection:
        assert connection.execute(f"SHOW {name}").fetchone() == (value,)


@as_root
def test_under_root_another_account_runs_it(server: Service) -> None:
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row
        owner = Path(f"/proc/{row[0]}").stat().st_uid
    assert owner == pwd.getpwnam(postgres.NAME).pw_uid


def test_a_commit_survives_kill_9_and_the_next_start_does_not_trip_over_orphans(short_folder: Path) -> None:
    with started(short_folder, throw_away=False) as service:
        with psycopg.connect(service.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        idle = psycopg.connect(service.url)  # a backend that outlives the server process for a moment
        os.kill(noted(short_folder)["postgres"], signal.SIGKILL)
        with running(service, short_folder / "log"):
            assert is_ready(service.name, service.url, 20), (short_folder / "log").read_text()
            with psycopg.connect(service.url) as connection:
                assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        idle.close()


def test_it_starts_over_a_stale_pid_file_whose_pid_now_belongs_to_a_living_process(short_folder: Path) -> None:
    service = make(short_folder)
    stale = short_folder / "postgres" / "data" / "postmaster.pid"
    stale.write_text(f"{os.getppid()}\n{stale.parent}\n{int(time.time())}\n5432\n{short_folder}\n\n   1234  5678\n")
    lock = short_folder / "postgres" / ".s.PGSQL.5432.lock"
    lock.write_text(stale.read_text())
    with running(service, short_folder / "log"):
        assert is_ready(service.name, service.url, 20), (short_folder / "log").read_text()


def test_a_half_made_data_folder_is_made_again(short_folder: Path) -> None:
    half = short_folder / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with started(short_folder) as service, psycopg.connect(service.url) as connection:
        assert connection.info.server_version >= 180000


def test_a_data_folder_of_another_version_is_refused_and_not_touched(short_folder: Path) -> None:
    make(short_folder)
    version = short_folder / "postgres" / "data" / "PG_VERSION"
    version.write_text("16\n")
    with pytest.raises(StartError, match=r"made by PostgreSQL 16 and this version brings 18"):
        make(short_folder)
    assert version.read_text() == "16\n"


def test_the_password_is_in_no_file_that_others_can_read(short_folder: Path) -> None:
    make(short_folder)
    assert not (short_folder / "postgres" / "password").exists()
    assert (short_folder / "postgres").stat().st_mode & 0o077 == 0


@as_root
def test_binaries_are_copied_where_the_environment_is_closed_to_the_account(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = short_folder / "closed" / "site-packages"
    closed.mkdir(parents=True)
    installed = postgres.packaged_binaries().parent.parent
    for folder in (installed, installed.with_name(f"{installed.name}.libs")):
        (closed / folder.name).symlink_to(folder)
    closed.parent.chmod(0o700)
    binaries = closed / installed.name / postgres.packaged_binaries().parent.name / "bin"
    system = short_folder / "system"
    system.mkdir(mode=0o755)
    monkeypatch.setattr(postgres, "packaged_binaries", lambda: binaries)
    monkeypatch.setattr(postgres, "SYSTEM_FOLDER", system)

    service = make(short_folder)

    assert str(system) in " ".join(service.command)
    with running(service, short_folder / "log"):
        assert is_ready(service.name, service.url, 20), (short_folder / "log").read_text()


@as_root
def test_the_database_of_a_deleted_data_folder_is_neither_taken_up_nor_removed(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SYSTEM_FOLDER", short_folder / "system")
    data = short_folder / "var"
    data.mkdir()
    first = postgres.home_for(data)
    assert postgres.home_for(data) == first
    (data / "postgres.path").unlink()

    second = postgres.home_for(data)

    assert second != first
    assert first.is_dir()


def test_a_server_that_does_not_answer_is_waited_for_only_so_long(server: Service, tmp_path: Path) -> None:
    nowhere = replace(server, url=f"postgresql://u:p@/openmanager?host={tmp_path}")
    begin = time.monotonic()
    assert not is_ready(nowhere.name, nowhere.url, 0.3)
    assert time.monotonic() - begin < 3
