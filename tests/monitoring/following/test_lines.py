"""What our own processes write becomes lines that people can read and search."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitoring.agent.openmanager_agent import Entry
from monitoring.following import lines
from monitoring.following.lines import Echoes, lines_of_machine, lines_of_ours
from monitoring.logs.line import Level, Line

AT_NS = 1_795_256_430 * 10**9


@pytest.fixture(autouse=True)
def no_echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "echoes", Echoes())


def ours(text: str | dict[str, Any], file: str = "web.log") -> list[Line]:
    said = text if isinstance(text, str) else json.dumps(text)
    return list(lines_of_ours([Entry(file, AT_NS, said, {"filename": f"/var/{file}"})], 7))


def event(**said: Any) -> dict[str, Any]:
    return {"event": "collect_failed", "timestamp": "2026-11-21T10:20:29.500000Z", "level": "warning", **said}


def test_an_event_becomes_words_and_fields() -> None:
    (line,) = ours(event(logger="monitoring.collectors.run", source=3, error="no answer", tried=None))
    assert line.server_id == 7
    assert line.source == "openmanager-web"
    assert line.level is Level.WARNING
    assert line.text == 'collect_failed source=3 error="no answer"'
    assert line.fields == {"logger": "monitoring.collectors.run", "source": "3", "error": "no answer"}
    assert line.at_ns == (1_795_256_430 - 1) * 10**9 + 500_000_000


def test_an_exception_stands_below_it() -> None:
    (line,) = ours(event(exception="Traceback (most recent call last):\nKeyError: 'x'"))
    assert line.text == "collect_failed\nTraceback (most recent call last):\nKeyError: 'x'"


@pytest.mark.parametrize(
    ("file", "text", "source", "level"),
    [
        ("postgres.log", "2026-11-21 10:20:29 UTC [7] ERROR:  out of memory", "openmanager-postgres", Level.ERROR),
        ("redis.log", "12:M 21 Nov 2026 10:20:29.000 # WARNING overcommit", "openmanager-redis", Level.WARNING),
        ("web.log.1", '{"not": "ours"}', "openmanager-web", Level.INFO),
        ("worker-fast.log", "{broken", "openmanager-worker-fast", Level.INFO),
    ],
)  # fmt: skip
def test_lines_of_others_stay_as_they_are(file: str, text: str, source: str, level: Level) -> None:
    (line,) = ours(text, file)
    assert (line.source, line.text, line.level, line.fields) == (source, text, level, {})


@pytest.mark.parametrize(
    "text",
    [
        "--- ***** ----- ",
        "-- ******* ---- Linux-6.1",
        "- *** --- * --- ",
        "- ** ---------- .> app:         openmanager",
        "__    -    ... __   -        _",
        "INFO:     connection open",
        'INFO:     127.0.0.1:5 - "WebSocket /ws/live/" [accepted]',
    ],
)
def test_banners_and_the_sockets_of_pages_are_no_lines(text: str) -> None:
    assert ours(text, "worker-fast.log") == []


def test_secrets_are_in_none_of_it() -> None:
    (line,) = ours(
        event(password="hunter2hunter2", url="redis://:hunter2hunter2@x/0", exception="token=hunter2hunter2")
    )
    assert "hunter2" not in repr(line)


def test_a_line_about_recording_lines_makes_no_other() -> None:
    about = event(logger="monitoring.logs.merge")
    assert [len(ours(about)) for _ in range(5)] == [1, 0, 0, 0, 0]
    assert len(ours(event(logger="monitoring.collectors.run"))) == 1


def test_nor_does_it_by_way_of_the_journal() -> None:
    entry = Entry("openmanager", AT_NS, json.dumps(event(logger="monitoring.following.follow")), {})
    assert [len(list(lines_of_machine([entry], 7))) for _ in range(3)] == [1, 0, 0]


def test_the_level_of_the_journal_counts_more_than_words() -> None:
    entry = Entry("sshd", AT_NS, "error: not really", {"level": "notice", "unit": "ssh.service"})
    (line,) = lines_of_machine([entry], 7)
    assert (line.level, line.source, line.fields) == (Level.INFO, "sshd", {"unit": "ssh.service"})
