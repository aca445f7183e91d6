"""The ledger of alerts: crossings of a limit that a portal acknowledged, compared with the mails that were accepted."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from portal.embedded.running import RunningPortal
from portal.embedded.services import ROOT
from portal.system.bench._inside import environment
from portal.system.bench._ledger import HEALED_WITHIN_S
from portal.system.bench._smtp import FaultyMailServer, Kept
from portal.toolkit.env import read_env_file

QUIET_WITHIN_S = 120.0
"""After a kill: a lease of 60 s, then sending; after refusals: the pauses between attempts."""

_MINE = """
WITH mine AS (
    SELECT server.id, server.state FROM monitoring_server server
    JOIN monitoring_servergroup ON monitoring_servergroup.id = group_id WHERE monitoring_servergroup.name = %s
)
"""
_LEFT = """SELECT
    (SELECT count(*) FROM monitoring_batch
        WHERE evaluated_at IS NULL AND server_ids && ARRAY(SELECT id FROM mine)),
    (SELECT count(*) FROM alerts_incident WHERE resolved_at IS NULL AND server_id IN (SELECT id FROM mine)),
    (SELECT count(*) FROM alerts_delivery JOIN alerts_incident incident ON incident.id = incident_id
        WHERE alerts_delivery.status = 'queued' AND server_id IN (SELECT id FROM mine)),
    (SELECT count(*) FROM mine WHERE state IN ('critical', 'warning'))
"""
_TOLD = """SELECT
    server_id, incident.id,
    round(extract(epoch FROM fired_at) * 1000)::bigint,
    round(extract(epoch FROM resolved_at) * 1000)::bigint,
    delivery.kind, delivery.key, delivery.status, delivery.address
FROM alerts_incident incident LEFT JOIN alerts_delivery delivery ON incident.id = incident_id
WHERE server_id IN (SELECT id FROM mine) ORDER BY incident.id
"""
NEAR_MS = 10_000
"""An instant that is ahead of the evaluator's clock is written down as that clock's."""


class Crossing(NamedTuple):
    """A value that went beyond its limit (`up`) or back, and was acknowledged."""

    at_ms: int
    server_id: int
    up: bool


class _Event(NamedTuple):
    """An incident that fired, or that was resolved, and its mails: (key, status, address)."""

    at_ms: int | None
    mails: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Verdict:
    """What is wrong after a fault and a quiet time; `wrong` is empty and `twice` small when all is well.

    `wrong`: crossings without an accepted mail to each person on call, mails that nobody asked for, recoveries that
    came before the bad news. `twice`: by Message-ID, how many times a mail came after the first time.
    """

    crossings: int
    mails: int
    wrong: list[str]
    twice: dict[str, int]


@dataclass
class AlertLedger:
    """A running sender of crossings (_crossings.py), what it was told, and the mail server of its portal."""

    portal: RunningPortal
    mail: FaultyMailServer
    name: str
    people: int
    path: Path
    process: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def running(
        cls,
        portal: RunningPortal,
        mail: FaultyMailServer,
        path: Path,
        *,
        servers: int = 20,
        people: int = 2,
        pause_s: float = 0.4,
        env: Mapping[str, str] | None = None,
    ) -> Iterator[AlertLedger]:
        """When it begins every server is beyond its limit and each person was told.

        With `pause_s` 0 nothing crosses but when `tell` says so.
        """
        name = f"crossings-{time.time_ns()}"
        module = [sys.executable, "-m", "portal.system.bench._crossings"]
        process = subprocess.Popen(
            [*module, name, str(servers), str(people), str(pause_s), str(path)],
            cwd=ROOT,
            env=environment(portal) | dict(env or {}),
            stdin=subprocess.PIPE,
            text=True,
        )
        ledger = cls(portal, mail, name, people, path, process)
        try:
            ledger.cross("up", servers * people)
            yield ledger
        finally:
            process.kill()
            process.communicate()

    def tell(self, command: str) -> None:
        """See _crossings.py."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def crossings(self) -> list[Crossing]:
        """All that were acknowledged; a line that was being written is none."""
        lines = self.path.read_text().split("\n")[:-1] if self.path.exists() else []
        words = (line.split() for line in lines)
        return [Crossing(int(at), int(server), way == "up") for at, server, way in words]

    def mails(self) -> list[Kept]:
        """What was accepted for the people of this ledger."""
        return [kept for kept in list(self.mail.kept) if kept.receiver.startswith(f"{self.name}-")]

    def cross(self, command: str, mails: int) -> list[Kept]:
        """`tell` it, and wait until it has led to so many mails; these."""
        before = len(self.mails())
        self.tell(command)
        self._wait_for(before + mails)
        return self.mails()[before:]

    def wait_for_mails(self, more: int) -> None:
        """Until that many more mails were accepted: the whole chain works."""
        self._wait_for(len(self.mails()) + more)

    def _wait_for(self, goal: int) -> None:
        deadline = time.monotonic() + HEALED_WITHIN_S
        while len(self.mails()) < goal:
            if time.monotonic() > deadline or self.process.poll():
                missing = goal - len(self.mails())
                raise TimeoutError(f"{missing} mails did not come in {HEALED_WITHIN_S} s\n{self.portal.report()}")
            time.sleep(0.05)

    def end(self) -> Verdict:
        """Let every server recover, wait until the portal has nothing left to do about them, and judge."""
        self.stop()
        self._wait_until_quiet()
        return self._judge()

    def stop(self) -> None:
        """Every server recovers, and nothing crosses any more."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(HEALED_WITHIN_S) == 0

    def _wait_until_quiet(self) -> None:
        deadline = time.monotonic() + QUIET_WITHIN_S
        while any(left := self._ask(_LEFT)[0]):
            if time.monotonic() > deadline:
                batches, incidents, mails, bad = left
                raise TimeoutError(
                    f"After {QUIET_WITHIN_S} s there are {batches} batches not evaluated, {incidents} incidents open, "
                    f"{mails} mails queued, {bad} servers in a bad state.\n{self.portal.report()}"
                )
            time.sleep(0.2)

    def _judge(self) -> Verdict:
        mails = self.mails()
        came = [_message_id(kept).partition("@")[0].lstrip("<") for kept in mails]
        first = {key: place for place, key in reversed(list(enumerate(came)))}
        crossings, told = self.crossings(), self._told()
        wrong: list[str] = []
        for server_id in {crossing.server_id for crossing in crossings}:
            for way in (True, False):
                mine = [one for one in crossings if one.server_id == server_id and one.up is way]
                wrong += self._wrong_about(mine, told[server_id, way], first)
        known = {key for events in told.values() for event in events for key, _, _ in event.mails}
        wrong += [f"nobody asked for {key}" for key in first.keys() - known]
        wrong += _out_of_order(first)
        twice = {key: count - 1 for key, count in Counter(came).items() if count > 1}
        return Verdict(len(crossings), len(mails), wrong, twice)

    def _told(self) -> dict[tuple[int, bool], list[_Event]]:
        """By server, and whether it broke: what the portal says has happened, in order."""
        told: dict[tuple[int, bool], dict[int, _Event]] = defaultdict(dict)
        for server_id, incident, fired_ms, resolved_ms, kind, *mail in self._ask(_TOLD):
            for up, at_ms in ((True, fired_ms), (False, resolved_ms)):
                event = told[server_id, up].setdefault(incident, _Event(at_ms, []))
                if kind is not None and up is (kind != "recovered"):
                    event.mails.append((mail[0], mail[1], mail[2]))
        return defaultdict(list, {key: list(events.values()) for key, events in told.items()})

    def _wrong_about(self, crossings: list[Crossing], events: list[_Event], first: Mapping[str, int]) -> list[str]:
        """The crossings of one server in one direction are its events, one by one."""
        if len(crossings) != len(events):
            return [f"{len(events)} events instead of {len(crossings)}: {crossings[:1]} …"]
        wrong = []
        for crossing, (at_ms, mails) in zip(crossings, events, strict=True):
            if at_ms is None or abs(at_ms - crossing.at_ms) > NEAR_MS:
                wrong.append(f"{crossing}: happened at {at_ms}")
            if len(mails) != self.people or len({address for _, _, address in mails}) != self.people:
                wrong.append(f"{crossing}: {len(mails)} mails to {self.people} people")
            wrong += [
                f"{crossing}: {key} is {status}, not accepted" for key, status, _ in mails if status != "accepted"
            ]
            wrong += [f"{crossing}: {key} did not come" for key, _, _ in mails if key not in first]
        return wrong

    def _ask(self, query: str) -> list[Any]:
        """Rows of `query`, in which `mine` are the servers of this ledger."""
        url = read_env_file(self.portal.data / "portal.env")["DATABASE_URL"]
        with psycopg.connect(url) as connection:
            return connection.execute(_MINE + query, [self.name]).fetchall()


def _message_id(kept: Kept) -> str:
    return str(BytesHeaderParser().parsebytes(kept.content)["Message-ID"])


def _out_of_order(first: Mapping[str, int]) -> list[str]:
    """Recoveries that a person had before the bad news of the same incident. A key is incident-person-kind-level."""
    wrong = []
    for key, place in first.items():
        incident, person, kind, *_ = key.split("-")
        if kind != "recovered":
            continue
        news = [at for other, at in first.items() if other.split("-")[:3] == [incident, person, "fired"]]
        if not news or min(news) > place:
            wrong.append(f"{key} came before its bad news")
    return wrong
