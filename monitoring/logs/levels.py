"""The level of a line: as its sender calls it, else as the line itself says it."""

from __future__ import annotations

import re
from functools import lru_cache

from monitoring.logs.ansi import without_ansi
from monitoring.logs.line import Level

READ = 400
"""Characters of a line in which its level is looked for."""

_WORDS = {
    Level.DEBUG: "trace trc debug dbg verbose vrb fine finer finest t d v",
    Level.INFO: "info information informational inf notice note log default config ok i n",
    Level.WARNING: "warning warn wrn caution w",
    Level.ERROR: "error err eror severe failure fatal ftl critical crit alert emergency emerg panic dpanic e f c",
}
_NAMED = {word: level for level, words in _WORDS.items() for word in words.split()}
_SYSLOG = (*[Level.ERROR] * 4, Level.WARNING, Level.INFO, Level.INFO, Level.DEBUG)
_TENS = {"10": Level.DEBUG, "20": Level.DEBUG, "30": Level.INFO, "40": Level.WARNING, "50": Level.ERROR} | {
    "60": Level.ERROR
}
"""Levels as JSON loggers number them."""
_NAMED |= {str(number): level for number, level in enumerate(_SYSLOG)} | _TENS

_UPPER = "TRACE|DEBUG|DBG|INFO|INF|NOTICE|LOG|WARN(?:ING)?|WRN|ERR(?:OR)?|SEVERE|FATAL|CRIT(?:ICAL)?|ALERT|EMERG|PANIC"

# level=error, "level":"error", 'severity': 'ERROR', "log.level" : 30, detected_level=warn
_SAID = re.compile(
    r"""(?:^|[\s{,;"'(\[|._-])(?:level|lvl|severity|loglevel|levelname|priority)["']?\s*[=:]\s*["'\[]?([a-z]+|\d+\b)""",
    re.I,
)
_SAID_WITH = ("level", "lvl", "severity", "priority")
# [error], <warn>, [core:error], (INFO)
_BRACKETED = re.compile(r"[\[<(](?:[\w.-]{1,40}:)?([A-Za-z]{3,13})[\])>]")
# 2026-11-21 20:00:00 ERROR …: in capitals, and no part of another word
_BARE = re.compile(rf"(?:{_UPPER})(?![A-Za-z0-9_/=])")
_BARE_WITHIN = 160
# error: …, Warning: … at the very start
_FIRST = re.compile(r"\W{0,3}([A-Za-z]{3,13}):\s")
# W0121 12:34:56.789012
_KLOG = re.compile(r"([IWEF])[01]\d[0-3]\d [0-2]\d:")
# 1234:M 21 Nov 2026 20:00:00.000 * Ready
_REDIS = re.compile(r"\d{1,9}:[XCSM] \d\d \w{3} \d{4} [\d:.]{8,20} ([.*#-]) ")
_REDIS_MARKS = {".": Level.DEBUG, "-": Level.DEBUG, "*": Level.INFO, "#": Level.WARNING}
_TRACEBACK = "Traceback (most recent call last)"


def level_named(word: str) -> Level | None:
    """What a sender calls so: words of any case, syslog's numbers 0 to 7, the tens of JSON loggers."""
    return _named(word) if len(word) <= 20 else None


def level_of_severity(number: int) -> Level | None:
    """OTLP's severity numbers, 1 to 24; 0 is not known."""
    if not 1 <= number <= 24:
        return None
    return (Level.DEBUG, Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR, Level.ERROR)[(number - 1) // 4]


def level_of_priority(priority: int) -> Level:
    """Of syslog's PRI, facility and severity in one number."""
    return _SYSLOG[priority & 7]


def level_in(text: str) -> Level | None:
    """What the line says itself, None when it does not: level=…, "level":"…", [ERROR], W0121, 2026-… ERROR …"""
    head = without_ansi(text[:READ])
    for read in (_said, _at_the_start, _bracketed, _bare):
        if (level := read(head)) is not None:
            return level
    return None


@lru_cache(maxsize=4096)
def _named(word: str) -> Level | None:
    return _NAMED.get(word.strip().casefold())


def _said(head: str) -> Level | None:
    lowered = head.lower()
    if not any(name in lowered for name in _SAID_WITH):
        return None
    return next((level for found in _SAID.finditer(head) if (level := level_named(found[1])) is not None), None)


def _at_the_start(head: str) -> Level | None:
    if found := _KLOG.match(head):
        return _NAMED[found[1].lower()]
    if found := _REDIS.match(head):
        return _REDIS_MARKS[found[1]]
    if found := _FIRST.match(head):
        return level_named(found[1])
    return Level.ERROR if head.startswith(_TRACEBACK) else None


def _bracketed(head: str) -> Level | None:
    words = (found[1] for found in _BRACKETED.finditer(head))
    return next((level for word in words if (level := level_named(word)) is not None), None)


def _bare(head: str) -> Level | None:
    for found in _BARE.finditer(head, 0, _BARE_WITHIN):
        before = head[found.start() - 1] if found.start() else " "
        if not (before.isalnum() or before in "_/.-"):
            return _NAMED[found[0].lower()]
    return None
