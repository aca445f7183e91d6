"""This machine's logs and the portal's own are followed without anything being configured."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from monitoring.agent import openmanager_agent as agent
from monitoring.following import follow, sources
from monitoring.following.follow import follow_due, follow_quietly
from monitoring.logs.line import Level
from monitoring.models import Collector, Followed, FollowedLog, Server, Source
from tests.agent.test_lines import JOURNALCTL, append, entry, journal
from tests.monitoring.logs.conftest import kept, nothing_known_of_logs

__all__ = ["JOURNALCTL", "journal", "nothing_known_of_logs"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis", "nothing_known_of_logs")]


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def logs(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the portal's own logs; beside it is the machine's, and no journal."""
    settings.DATA_DIR = tmp_path
    (tmp_path / "logs").mkdir()
    (tmp_path / "nginx").mkdir()
    monkeypatch.setattr(sources, "USUAL", [("nginx", str(tmp_path / "nginx" / "*.log"))])
    monkeypatch.setattr(sources, "IN_THE_JOURNAL", [])
    monkeypatch.setattr(sources, "JOURNALS", ())
    monkeypatch.setattr(agent.Files, "SCAN_S", -1)
    monkeypatch.setattr(agent.Followed, "JOIN_S", -1)
    yield tmp_path / "logs"
    forget()


def forget() -> None:
    """As a new worker."""
    for _place, reader in follow._readers.values():
        reader.close()
    follow._readers.clear()


@pytest.fixture
def machine(make_server: Callable[..., Server]) -> Server:
    server = make_server("this-machine")
    Source.objects.create(server=server, collector=Collector.HOST)
    return server


def follow_on(now: datetime) -> None:
    """Until it is known that nothing belongs to the last line."""
    for _ in range(3):
        follow_due(now)


def texts(*, source: str = "") -> list[str]:
    return [line.text for line in kept() if line.source.startswith(source) and line.source != "openmanager"]


def row(what: str) -> FollowedLog:
    return FollowedLog.objects.get(what=what)


def test_our_own_processes_lines_are_lines_of_this_machine(logs: Path, machine: Server, now: datetime) -> None:
    (logs / "web.log").write_text('{"event": "started", "level": "warning", "logger": "portal"}\n')
    (logs / "redis.log").write_text("12:M 21 Nov 2026 10:20:29.000 * Ready to accept connections\n")
    assert follow_due(now) == 2
    lines = {line.source: line for line in kept() if line.source != "openmanager"}
    assert set(lines) == {"openmanager-web", "openmanager-redis"}
    assert {line.server_id for line in lines.values()} == {machine.pk}
    assert lines["openmanager-web"].level is Level.WARNING
    assert (row("own").lines, row("own").read_at) == (2, now)


def test_the_usual_files_are_followed_from_now_on(logs: Path, machine: Server, now: datetime) -> None:
    access = logs.parent / "nginx" / "access.log"
    access.write_text("of long ago\n")
    follow_due(now)
    append(access, "GET / 200\n")
    follow_on(now)
    assert texts(source="nginx") == ["GET / 200"]


def test_a_new_worker_goes_on_where_the_last_one_was(logs: Path, machine: Server, now: datetime) -> None:
    append(logs / "web.log", "one\n")
    follow_on(now)
    forget()
    append(logs / "web.log", "two\n")
    follow_on(now)
    assert sorted(texts()) == ["one", "two"]


def test_what_could_not_be_recorded_is_read_again(
    logs: Path, machine: Server, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(logs / "web.log", "one\n")
    with monkeypatch.context() as broken:
        broken.setattr(follow, "record", lambda *_, **__: (_ for _ in ()).throw(OperationalError("away")))
        follow_quietly(now)
    assert texts() == []
    follow_on(now)
    assert texts() == ["one"]


def test_the_journal_is_followed_where_there_is_one(
    logs: Path, machine: Server, now: datetime, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "has_journal", lambda: True)
    follow_due(now)
    append(journal, entry("it broke", PRIORITY="3", _SYSTEMD_UNIT="shop.service"))
    for _ in range(200):
        if follow_due(now):
            break
    (line,) = (line for line in kept() if line.source == "sshd")
    assert (line.text, line.level, line.fields["unit"]) == ("it broke", Level.ERROR, "shop.service")


def test_a_machine_without_a_journal_is_told_so_once(logs: Path, machine: Server, now: datetime) -> None:
    for _ in range(3):
        follow_due(now)
    assert "no journal" in row(Followed.JOURNAL).problem
    assert len([line for line in kept() if "no journal" in line.text]) == 1


def test_what_may_not_be_read_is_told_in_plain_words_and_once(
    logs: Path, machine: Server, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (logs.parent / "nginx" / "access.log").write_text("x\n")
    with monkeypatch.context() as broken:
        broken.setattr(agent.Files, "_follow", closed)
        for _ in range(3):
            follow_due(now)
        assert "access.log: Permission denied" in row(Followed.FILES).problem
    told = [line for line in kept() if "may not read all of it" in line.text]
    assert [line.level for line in told] == [Level.WARNING]
    follow_due(now)
    assert row(Followed.FILES).problem == ""


@pytest.mark.parametrize("paused", ["source", "server"])
def test_nothing_is_followed_when_the_machine_is_paused(
    logs: Path, machine: Server, now: datetime, paused: str
) -> None:
    (Source if paused == "source" else Server).objects.update(paused=True)
    append(logs / "web.log", "one\n")
    assert follow_due(now) == 0
    assert not FollowedLog.objects.exists()


def test_nothing_new_costs_few_queries(
    logs: Path, machine: Server, now: datetime, django_assert_max_num_queries: Any
) -> None:
    follow_due(now)
    follow_due(now)
    with django_assert_max_num_queries(6):
        follow_due(now)


def test_without_journals_files_there_is_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "JOURNALS", (tmp_path, tmp_path / "not-there"))
    monkeypatch.setattr(sources.shutil, "which", lambda _: "/bin/journalctl")
    assert not sources.has_journal()
    os.mkdir(tmp_path / "of-this-machine")
    assert sources.has_journal()
