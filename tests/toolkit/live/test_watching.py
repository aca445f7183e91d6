"""What an open client asked for, what is told of it, and what becomes of it when somebody looks at rights again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
import pytest
from django.contrib.auth.models import AbstractBaseUser

from portal.accounts.models import User
from portal.toolkit.live import recheck
from portal.toolkit.live.admission import Credential, admit
from portal.toolkit.live.clients import TOPICS_TOLD, Client, Clients
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.recheck import Rechecker
from portal.toolkit.live.topic import Address
from portal.toolkit.live.watching import Watching
from tests.toolkit.live.conftest import End, Gauge, parsed, until

READER = User(pk=7, username="reader")


class Open:
    """A client of the hub, and what it was called back with."""

    def __init__(self, hub: Hub, *topics: str, whole: Sequence[str] = ()) -> None:
        self.watcher = End(hub).watcher
        self.refused: list[str] = []
        self.looked_at: list[AbstractBaseUser] = []
        self.ends = 0
        self.watching = Watching(
            hub,
            self.watcher,
            READER,
            "session",
            on_signed_out=self._end,
            on_refused=lambda addresses: self.refused.extend(map(str, addresses)),
            on_looked_at=self.looked_at.append,
        )
        self.client = Client(READER, "socket", "10.0.0.7", self.watcher, self.watching, 1.5, whole=whole)
        self.ask(*topics)

    def _end(self) -> None:
        self.ends += 1

    def ask(self, *topics: str) -> None:
        addresses = [parsed(topic) for topic in topics]
        self.watching.add(addresses, admit(READER, addresses))

    def give_up(self, *topics: str) -> None:
        self.watching.remove([parsed(topic) for topic in topics])

    def look(self) -> None:
        asked = self.watching.asked
        self.watching.take_rights(User(pk=READER.pk), asked, admit(READER, asked))

    @property
    def watched(self) -> list[str]:
        return sorted(str(fragment.address) for fragment in self.watcher.watched)

    @property
    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = orjson.loads(orjson.dumps(self.client.told()))
        return told


# --- What is told -----------------------------------------------------------------------------------------------------


async def test_what_is_told_follows_what_is_watched(hub: Hub, gauge: Gauge) -> None:
    one = Open(hub, "gauge:1", "gauge:secret")
    assert one.told == {
        "person": "reader",
        "transport": "socket",
        "address": "10.0.0.7",
        "since": 1.5,
        "topics": ["gauge:1", "gauge:secret"],
        "watched": 1,
        "pace_s": 1.0,
        "frames": 0,
        "unsent": 1,
        "sending": False,
    }
    one.ask("gauge:2")
    hub.set_pace(one.watcher, 15.0)
    assert (one.told["topics"], one.told["watched"]) == (["gauge:1", "gauge:secret", "gauge:2"], 2)
    assert one.told["pace_s"] == 15.0
    one.give_up("gauge:1", "gauge:secret", "gauge:never asked")
    assert (one.told["topics"], one.told["watched"], one.told["unsent"]) == (["gauge:2"], 1, 1)


async def test_some_of_many_topics_are_told_and_those_that_are_watched_whole(hub: Hub, gauge: Gauge) -> None:
    many = [f"gauge:{number}" for number in range(TOPICS_TOLD + 5)]
    one, whole = Open(hub, *many), Open(hub, "gauge:1", whole=["gauge"])
    assert (one.told["topics"], one.told["watched"]) == (many[:TOPICS_TOLD], len(many))
    assert whole.told["topics"] == ["gauge:1", "gauge:*"]


async def test_sockets_and_streams_are_counted_once(hub: Hub) -> None:
    clients = Clients("epoch")
    one, two = Open(hub).client, Open(hub).client
    stream = Client(READER, "stream", "", one.watcher, one.asking, 0.0)
    for client in (one, two, stream):
        clients.add(client)
    clients.discard(two)
    clients.discard(two)
    told = await clients._told("ok")
    assert (told["sockets"], told["streams"], len(told["clients"])) == (1, 1, 2)


# --- A look at rights -------------------------------------------------------------------------------------------------


async def test_a_look_that_finds_nothing_new_touches_nothing_but_the_person(hub: Hub, gauge: Gauge) -> None:
    one = Open(hub, "gauge:1", "gauge:secret")
    asked, watched = one.watching.asked, one.watcher.watched
    one.look()
    assert one.watching.asked is asked
    assert one.watcher.watched is watched
    assert one.watching.user is not READER
    assert one.looked_at == [one.watching.user]
    assert one.refused == []


async def test_a_right_that_goes_or_comes_is_noticed_after_looks_that_found_nothing(hub: Hub, gauge: Gauge) -> None:
    one = Open(hub, "gauge:1", "gauge:2")
    one.look()
    gauge.strangers = {READER.pk}
    one.look()
    assert (one.watched, one.refused) == ([], ["gauge:1", "gauge:2"])
    one.look()
    assert one.refused == ["gauge:1", "gauge:2"]  # told once
    gauge.strangers = set()
    one.look()
    assert one.watched == ["gauge:1", "gauge:2"]
    assert len(one.looked_at) == 4


async def test_what_was_asked_for_or_given_up_during_a_look_stays_so(hub: Hub, gauge: Gauge) -> None:
    one = Open(hub, "gauge:1", "gauge:2")
    asked = one.watching.asked
    found = admit(READER, asked)
    one.give_up("gauge:1")
    one.ask("gauge:3")
    one.watching.take_rights(READER, asked, found)
    assert [str(address) for address in one.watching.asked] == ["gauge:2", "gauge:3"]
    assert one.watched == ["gauge:2", "gauge:3"]
    one.watching.take_rights(READER, asked, {})
    assert (one.watched, one.refused) == (["gauge:3"], ["gauge:2"])


async def test_another_canonical_key_is_followed(hub: Hub, gauge: Gauge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauge, "admit", lambda _user, key: key or "1,2")
    one = Open(hub, "gauge")
    one.look()
    assert one.watched == ["gauge:1,2"]
    monkeypatch.setattr(gauge, "admit", lambda _user, key: key or "1,2,3")
    one.look()
    assert (one.watched, one.refused) == (["gauge:1,2,3"], [])


async def test_who_is_nobody_or_somebody_else_now_is_signed_out(hub: Hub, gauge: Gauge) -> None:
    one = Open(hub, "gauge:1")
    for user in (None, User(pk=8)):
        one.watching.take_rights(user, one.watching.asked, admit(READER, one.watching.asked))
    assert (one.ends, one.looked_at) == (2, [])


def test_what_is_admitted_is_in_the_order_that_was_asked_and_nothing_else(
    gauge: Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauge, "admit_many", lambda _user, keys: {"never asked": "1", "2": "2", "": "1,2"})
    asked = [parsed(text) for text in ("gauge", "gauge:1", "gauge:2", "gauge:2", "nonsense:2")]
    admitted = admit(READER, asked)
    assert list(admitted.items()) == [(asked[0], Address("gauge", "1,2")), (asked[2], asked[2])]


# --- Who looks --------------------------------------------------------------------------------------------------------


class Looked:
    """What the rechecker needs of an open client."""

    def __init__(self, credential: Credential, *topics: str) -> None:
        self.credential = credential
        self.recheck_at = 0.0
        self.asked = [parsed(topic) for topic in topics]
        self.found: list[tuple[AbstractBaseUser | None, Mapping[Address, Address]]] = []

    def take_rights(
        self, user: AbstractBaseUser | None, asked: Iterable[Address], admitted: Mapping[Address, Address]
    ) -> None:
        self.found.append((user, {address: admitted[address] for address in asked if address in admitted}))


async def test_all_of_a_credential_are_looked_at_when_one_is_due(gauge: Gauge, monkeypatch: pytest.MonkeyPatch) -> None:
    people: list[Credential] = []

    def person_of(credential: Credential) -> AbstractBaseUser | None:
        people.append(credential)
        return READER if credential == "tabs" else None

    monkeypatch.setattr(recheck, "person_of", person_of)
    rechecker = Rechecker()
    one, two, other = Looked("tabs", "gauge:1"), Looked("tabs", "gauge:2", "gauge:secret"), Looked("else", "gauge:1")
    for looked in (one, two, other):
        rechecker.add(looked)
    running = asyncio.create_task(rechecker.run())
    try:
        rechecker.at_once(one)
        await until(lambda: one.found and two.found)
        assert people == ["tabs"]
        assert one.found == [(READER, {parsed("gauge:1"): parsed("gauge:1")})]
        assert two.found == [(READER, {parsed("gauge:2"): parsed("gauge:2")})]
        assert min(one.recheck_at, two.recheck_at) > asyncio.get_running_loop().time() + 30
        assert other.found == []
        rechecker.at_once(other)
        await until(lambda: other.found)
        assert other.found == [(None, {})]
        assert len(one.found) == 1
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
