"""Following what is there, every few seconds: lines are committed, then how far they were read."""

from __future__ import annotations

import getpass
import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import structlog
from django.db import Error
from django.db.models import F
from django.utils.translation import gettext_noop as _

from monitoring.agent.openmanager_agent import Entry
from monitoring.following import lines, sources
from monitoring.logs.line import Level, Line
from monitoring.logs.record import record
from monitoring.models import Collector, Followed, FollowedLog, Server, Source
from portal.toolkit import locks
from portal.toolkit.sentence import say, sentence

log = structlog.get_logger(__name__)

ORIGIN = "followed"
ROUNDS = 5
TOLD = 5
_LOCK = 0x6F6D_0020

NO_JOURNAL = _("There is no journal on this machine: its usual log files are followed.")
UNREADABLE = _("%(who)s may not read all of it: %(what)s")

_following = threading.Lock()
_readers: dict[tuple[str, str], tuple[dict[str, Any], sources.Reader]] = {}
"""By machine and kind: from where it goes on, and the reader that stands there."""


def follow_due(now: datetime) -> int:
    """Record what was written since the last time on this machine. Returns how many lines were kept.

    May run at any time, any number of times: where it goes on is in the database, moved after the lines were
    committed. A kill in between repeats lines of which the time is not in the line itself. Without PostgreSQL nothing
    is read: lines wait where they were written.
    """
    with _following, locks.alone(_LOCK) as alone:
        server = _this_machine() if alone else None
        if server is None:
            return 0
        return sum(_follow(what, server, now) for what in Followed.values)


def _this_machine() -> Server | None:
    """The server that the host collector reads, if somebody still wants it read."""
    read = Source.objects.filter(collector=Collector.HOST, paused=False, server__paused=False).select_related("server")
    found = sorted(read, key=lambda source: (source.server.name != socket.gethostname(), source.pk))
    return found[0].server if found else None


def _follow(what: str, server: Server, now: datetime) -> int:
    machine = socket.gethostname()
    row, _made = FollowedLog.objects.get_or_create(machine=machine, what=what)
    reader = _reader(row)
    problem = NO_JOURNAL
    kept = 0
    if reader is not None:
        try:
            kept = _read(reader, row, server, now)
        except BaseException:
            _forget(row)  # what it has read and not brought home is read again
            raise
        problem = _problem(reader)
    _tell(row, problem, server)
    return kept


def _reader(row: FollowedLog) -> sources.Reader | None:
    key = (row.machine, row.what)
    known = _readers.get(key)
    if known and known[0] == row.place:
        return known[1]
    _forget(row)
    reader = sources.reader_of(row.what, row.place)
    if reader is not None:
        _readers[key] = (row.place, reader)
    return reader


def _forget(row: FollowedLog) -> None:
    known = _readers.pop((row.machine, row.what), None)
    if known:
        known[1].close()


def _read(reader: sources.Reader, row: FollowedLog, server: Server, now: datetime) -> int:
    made: Callable[[Iterable[Entry], int], Iterable[Line]] = (
        lines.lines_of_ours if row.what == Followed.OWN else lines.lines_of_machine
    )
    kept = 0
    for _round in range(ROUNDS):
        entries = reader.read()
        if not entries and row.place:
            break
        recorded = record(list(made(entries, server.pk)), origin=ORIGIN)
        kept += recorded.kept
        row.place = reader.place()
        moved: dict[str, Any] = {"place": row.place, "lines": F("lines") + recorded.kept}
        FollowedLog.objects.filter(pk=row.pk).update(**moved, **({"read_at": now} if recorded.kept else {}))
        _readers[row.machine, row.what] = (row.place, reader)
    return kept


def _problem(reader: sources.Reader) -> str:
    told = reader.told()
    return sentence(UNREADABLE, who=getpass.getuser(), what="; ".join(told[:TOLD])) if told else ""


def _tell(row: FollowedLog, problem: str, server: Server) -> None:
    """In the admin, and once among the lines themselves, where somebody misses them."""
    if problem == row.problem:
        return
    FollowedLog.objects.filter(pk=row.pk).update(problem=problem)
    if problem:
        text = f"{row.get_what_display()}: {say(problem)}"
        level = Level.INFO if problem == NO_JOURNAL else Level.WARNING
        record([Line(server.pk, time.time_ns(), level, "openmanager", text)], origin=ORIGIN)


def follow_quietly(now: datetime) -> None:
    """As `follow_due`; that PostgreSQL is away is no news: every other task says so already."""
    try:
        follow_due(now)
    except Error as error:
        log.debug("logs_not_followed", error=str(error))
