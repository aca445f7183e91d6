"""Levels of lines, as senders and the lines themselves say them."""

from __future__ import annotations

import pytest

from monitoring.logs.levels import level_in, level_named, level_of_priority, level_of_severity
from monitoring.logs.line import Level

DEBUG, INFO, WARNING, ERROR = Level


@pytest.mark.parametrize(
    ("level", "words"),
    [
        (DEBUG, "trace TRACE debug Dbg verbose finest 7 10 20"),
        (INFO, "info INFO Information notice log 5 6 30"),
        (WARNING, "warn Warning WARN 4 40"),
        (ERROR, "error ERR severe fatal crit critical alert emerg panic 0 1 2 3 50 60"),
    ],
)
def test_a_senders_word_is_one_of_four_levels(level: Level, words: str) -> None:
    assert {word: level_named(word) for word in words.split()} == dict.fromkeys(words.split(), level)


@pytest.mark.parametrize("word", ["", "unknown", "loud", "8", "-1", "99", "오류", "e" * 100_000])
def test_a_word_that_is_no_level_is_none(word: str) -> None:
    assert level_named(word) is None


def test_severities_of_otlp_are_in_fours() -> None:
    levels = [level_of_severity(number) for number in (0, 1, 5, 8, 9, 12, 13, 16, 17, 21, 24, 25)]
    assert levels == [None, DEBUG, DEBUG, DEBUG, INFO, INFO, WARNING, WARNING, ERROR, ERROR, ERROR, None]


def test_a_syslog_priority_has_its_severity_in_the_last_three_bits() -> None:
    assert [level_of_priority(number) for number in (0, 11, 12, 165, 190, 191)] == [
        ERROR,
        ERROR,
        WARNING,
        INFO,
        INFO,
        DEBUG,
    ]


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (ERROR, 'ts=2026-11-21T20:00:00Z caller=main.go:7 level=error msg="no disk"'),
        (WARNING, '{"time":"2026-11-21","level":"warn","msg":"slow"}'),
        (ERROR, '{"level": 50, "time": 1790000000000, "msg": "it broke"}'),
        (DEBUG, "{'severity': 'DEBUG', 'message': 'x'}"),
        (ERROR, '{"log.level":"ERROR","message":"x"}'),
        (ERROR, '{"@timestamp":"…","levelname":"CRITICAL"}'),
        (ERROR, "2026/11/21 20:00:00 [error] 123#0: *7 upstream timed out"),
        (ERROR, "[Sat Nov 21 20:00:00 2026] [core:error] [pid 7] AH00124"),
        (WARNING, "<warn>  [1790000000.1] dhcp4: lease expired"),
        (WARNING, "2026-11-21 20:00:00,123 WARNING django.request: Not Found: /x"),
        (ERROR, "2026-11-21 20:00:00.123 UTC [77] ERROR:  duplicate key value violates unique constraint"),
        (INFO, "2026-11-21 20:00:00.123 UTC [77] LOG:  checkpoint starting: time"),
        (INFO, "INFO:     127.0.0.1:40000 - GET / 200"),
        (ERROR, "error: could not lock config file"),
        (ERROR, "panic: runtime error: index out of range"),
        (WARNING, "W1121 20:00:00.000001       1 reflector.go:324] failed to list"),
        (WARNING, "1234:M 21 Nov 2026 20:00:00.000 # Memory overcommit must be enabled"),
        (ERROR, "Traceback (most recent call last):"),
        (DEBUG, "DEBUG starting"),
        (WARNING, "2026-11-21T20:00:00Z \x1b[33mWARN\x1b[0m slow"),
    ],
)
def test_a_line_says_its_level(level: Level, text: str) -> None:
    assert level_in(text) is level


@pytest.mark.parametrize(
    "text",
    [
        "",
        "GET /errors/ERROR.html 200",
        "Accepted publickey for root",
        "the level is unknown",
        "levels of water: high",
        "no errors found",
        "MIRROR restored, INFORMATIONLESS",
        "level=" + "9" * 10_000,
        "\x00\x1b[31m\u202e",
    ],
)
def test_a_line_that_says_none_has_none(text: str) -> None:
    assert level_in(text) is None


def test_only_the_start_of_a_long_line_is_read() -> None:
    assert level_in("x " * 1000 + "level=error") is None
