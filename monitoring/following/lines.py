"""From what a follower read to lines: of the machine, and of the portal's own processes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from monitoring.agent.openmanager_agent import Entry, instant_in
from monitoring.following.hush import hushed
from monitoring.logs.levels import level_in, level_named
from monitoring.logs.line import MAX_FIELD_VALUE, Level, Line

OWN = "openmanager-"
"""Before the name of a process: openmanager-web."""
SAID_ELSEWHERE = {"event", "timestamp", "level", "logger", "exception", "stack_info"}
ABOUT_LOGS = ("monitoring.logs", "monitoring.following")
AGAIN_AFTER_S = 60.0
_ORNAMENT = re.compile(r"[- ]+\*{2,} -|__ +- ")
"""The banner of Celery."""
_SOCKET = re.compile(r'INFO: +(?:connection (?:open|closed)|\S+ - "WebSocket )')
"""What uvicorn says of each socket: every page that is opened has one, so whoever looks at logs would write them."""
KINDS_KEPT = 1000


class Echoes:
    """What recording lines says of itself is recorded once a minute: else each line about lines would make another."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], float] = {}

    def is_one(self, logger: str, event: str) -> bool:
        """Whether the line must not be recorded now."""
        if not logger.startswith(ABOUT_LOGS):
            return False
        now = time.monotonic()
        if self._until.get((logger, event), 0.0) > now:
            return True
        if len(self._until) > KINDS_KEPT:
            self._until.clear()
        self._until[logger, event] = now + AGAIN_AFTER_S
        return False


echoes = Echoes()


def lines_of_machine(entries: Iterable[Entry], server_id: int) -> Iterator[Line]:
    """Of the journal and of files. A portal that runs as a service writes into the journal too."""
    for entry in entries:
        said = _object(entry.text)
        if not (said and echoes.is_one(str(said.get("logger")), str(said.get("event")))):
            facts = {name: fact for name, fact in entry.facts.items() if name != "level"}
            yield _line(server_id, entry, entry.source, hushed(entry.text), _level(entry), facts)


def lines_of_ours(entries: Iterable[Entry], server_id: int) -> Iterator[Line]:
    """Of our own processes: each file has the name of one. Our own objects become text for people, and fields."""
    for entry in entries:
        source = OWN + entry.source.partition(".")[0]
        said = _object(entry.text)
        if said is None and (_ORNAMENT.match(entry.text) or _SOCKET.match(entry.text)):
            continue
        if said is None:
            facts = {name: fact for name, fact in entry.facts.items() if name != "filename"}
            yield _line(server_id, entry, source, hushed(entry.text), _level(entry), facts)
            continue
        logger, event = str(said.get("logger", "")), str(said["event"])
        if echoes.is_one(logger, event):
            continue
        at_ns = instant_in(str(said.get("timestamp", "")), entry.at_ns) or entry.at_ns
        level = level_named(str(said.get("level", "")))
        facts = {name: hushed(f"{name}={fact}").partition("=")[2] for name, fact in _facts(said).items()}
        text = hushed(" ".join([event, *(f"{name}={_quoted(fact)}" for name, fact in facts.items())]))
        more = "".join("\n" + hushed(str(said[name])) for name in ("exception", "stack_info") if said.get(name))
        fields = {"logger": logger, **facts} if logger else facts
        shown = entry._replace(at_ns=at_ns)
        yield _line(server_id, shown, source, text + more, Level.INFO if level is None else level, fields)


def _object(text: str) -> dict[str, Any] | None:
    """What structlog wrote, None when it is something else."""
    if not text.startswith('{"'):
        return None
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) and "event" in said else None


def _facts(said: Mapping[str, Any]) -> dict[str, str]:
    plain = {name: value for name, value in said.items() if name not in SAID_ELSEWHERE and value is not None}
    return {
        name: (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))[
            :MAX_FIELD_VALUE
        ]
        for name, value in plain.items()
    }


def _quoted(fact: str) -> str:
    return (
        fact
        if fact and not any(letter.isspace() or letter == '"' for letter in fact)
        else json.dumps(fact, ensure_ascii=False)
    )


def _level(entry: Entry) -> Level:
    level = level_named(entry.facts["level"]) if "level" in entry.facts else level_in(entry.text)
    return Level.INFO if level is None else level


def _line(server_id: int, entry: Entry, source: str, text: str, level: Level, fields: Mapping[str, str]) -> Line:
    return Line(server_id, entry.at_ns, level, source, text, fields)
