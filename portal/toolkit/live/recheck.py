"""Looks again at whether open sockets belong to somebody who is signed in, and at what they may watch.

A socket keeps what it was given when it opened; sessions end and rights change meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

import structlog
from django.contrib.auth.models import AbstractBaseUser

from portal.toolkit.live.admission import DATABASE_AWAY, Credential, admit, in_thread, person_of
from portal.toolkit.live.topic import Address

EVERY_S = (40.0, 55.0)
AFTER_GAP_S = 10.0
WHEN_AWAY_S = 10.0
ROUND_S = 1.0
MOST_A_ROUND = 200

logger = structlog.get_logger(__name__)


class Rechecked(Protocol):
    """An open client; `recheck_at` is in the loop's time."""

    credential: Credential
    recheck_at: float

    @property
    def asked(self) -> Collection[Address]:
        """Replaced, never changed: another thread reads it."""

    def take_rights(
        self, user: AbstractBaseUser | None, asked: Collection[Address], admitted: Mapping[Address, Address]
    ) -> None: ...


class Rechecker:
    """Every socket within a minute, spread over time, but those of one credential together; all that are looked at
    together share the queries. A database that is away changes nothing: nobody gets new rights, and it is asked again
    soon.
    """

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._sockets: set[Rechecked] = set()
        self._wake = asyncio.Event()

    def add(self, socket: Rechecked) -> None:
        self._sockets.add(socket)
        self._postpone(socket)

    def discard(self, socket: Rechecked) -> None:
        self._sockets.discard(socket)

    def at_once(self, socket: Rechecked) -> None:
        socket.recheck_at = 0.0
        self._wake.set()

    def soon(self, socket: Rechecked) -> None:
        """An order to this socket may have been missed."""
        socket.recheck_at = min(socket.recheck_at, self._clock() + _between(0.0, AFTER_GAP_S))

    def _postpone(self, socket: Rechecked) -> None:
        socket.recheck_at = self._clock() + _between(*EVERY_S)

    async def run(self) -> None:
        """For ever; cancel to stop."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ROUND_S):
                    await self._wake.wait()
            self._wake.clear()
            due = self._due(self._clock())
            for start in range(0, len(due), MOST_A_ROUND):
                await self._look_at(due[start : start + MOST_A_ROUND])

    def _due(self, now: float) -> list[Rechecked]:
        """Those whose time has come, and all others of the same credentials, as that costs no query more."""
        credentials = {socket.credential for socket in self._sockets if socket.recheck_at <= now}
        return [socket for socket in self._sockets if socket.credential in credentials] if credentials else []

    async def _look_at(self, sockets: Sequence[Rechecked]) -> None:
        for socket in sockets:
            self._postpone(socket)  # first, so that an order that comes meanwhile is not forgotten
        asked = [(socket.credential, socket.asked) for socket in sockets]
        try:
            rights = await in_thread(lambda: rights_of(asked))
        except Exception as error:  # the worker's loop: nobody would be looked at any more
            if not isinstance(error, DATABASE_AWAY):
                logger.exception("rights not looked at", sockets=len(sockets))
            for socket in sockets:
                socket.recheck_at = min(socket.recheck_at, self._clock() + WHEN_AWAY_S)
            return
        for socket, (_, addresses), (user, admitted) in zip(sockets, asked, rights, strict=True):
            if socket in self._sockets:
                socket.take_rights(user, addresses, admitted)


def rights_of(
    asked: Sequence[tuple[Credential, Collection[Address]]],
) -> list[tuple[AbstractBaseUser | None, Mapping[Address, Address]]]:
    """For each (credential, addresses): who is signed in with it now, and what of the addresses they may watch.

    Two queries a session, one a token, and those of the topics once a person.
    """
    people = {credential: person_of(credential) for credential in {credential for credential, _ in asked}}
    wanted: dict[object, set[Address]] = {}
    for credential, addresses in asked:
        if user := people[credential]:
            wanted.setdefault(user.pk, set()).update(addresses)
    users = {user.pk: user for user in people.values() if user}
    admitted = {pk: admit(users[pk], addresses) for pk, addresses in wanted.items()}
    return [(people[credential], admitted[user.pk] if (user := people[credential]) else {}) for credential, _ in asked]


def _between(least_s: float, most_s: float) -> float:
    return random.uniform(least_s, most_s)  # noqa: S311  (spreads load, is no secret)
