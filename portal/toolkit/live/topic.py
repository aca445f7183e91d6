"""Topics: the things on a screen that change. An app declares its own in its `topics.py`; nothing else is needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from django.contrib.auth.models import AbstractBaseUser

LONGEST_ADDRESS = 200

Data = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""One thing, or many; of what orjson writes."""


class Address(NamedTuple):
    """What is written on the wire and in `data-live`: `name` or `name:key`."""

    topic: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.topic}:{self.key}" if self.key else self.topic

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """None for what cannot be an address; whether such a topic exists is another question."""
        return _parsed(text) if len(text) <= LONGEST_ADDRESS else None


@lru_cache(20_000)
def _parsed(text: str) -> Address | None:
    """The same object for the same text: a thousand sockets of the same screen share its addresses."""
    topic, _, key = text.partition(":")
    return Address(topic, key) if topic else None


class Topic(ABC):
    """A name, who may watch, and the current state of a key as HTML; for some topics also as data for programs."""

    name: ClassVar[str]
    is_low: ClassVar[bool] = False
    """Whether news of it can wait: it is sent once a minute, in frames of its own, and never delays another."""
    event: ClassVar[str] = ""
    """The event by which programs hear of it; "": they do not."""
    prompt: ClassVar[tuple[str, ...] | None] = None
    """The members of its data whose change programs hear of at once; of others within 15 s. None: all."""

    @abstractmethod
    def admit(self, user: AbstractBaseUser, key: str) -> str | None:
        """The canonical key that `user` watches when they ask for `key`; None when they may not.

        Synchronous, in a thread; may query the database. Asked again for every open socket at least once a minute.
        """

    def admit_many(self, user: AbstractBaseUser, keys: Sequence[str]) -> dict[str, str]:
        """The canonical key of each of `keys` that `user` may watch. Override where one query answers for all."""
        asked = {key: self.admit(user, key) for key in keys}
        return {key: canonical for key, canonical in asked.items() if canonical is not None}

    @abstractmethod
    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        """The whole current state of each canonical key, as HTML with one root element (stable id, `data-at`).

        Synchronous, in the hub's one rendering thread, with `language` active. One round trip for the data of all
        keys. A key that is left out is gone: pages that show it take it away.
        """

    def urgent(self, keys: Sequence[str]) -> frozenset[str]:
        """Which of these canonical keys go first when there are many at once. In the rendering thread; one query."""
        return frozenset()

    # --- For programs: only where there is an `event` -----------------------------------------------------------------

    def data(self, keys: Sequence[str]) -> Mapping[str, Data]:
        """The whole current state of each canonical key, as it becomes JSON; a key that is left out is gone.

        In the rendering thread, one round trip for all keys. A sequence is many things under one key: each has an `id`,
        `ended` (None before) and an `entry`, a number that grew with the last change of it.
        """
        raise NotImplementedError(self.name)

    def every_key(self, user: AbstractBaseUser) -> list[str]:
        """The canonical keys that a program watches which names none: all that `user` may, where there are many."""
        return list(self.admit_many(user, [""]).values())

    def missed(self, key: str, after: int, ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        """Where `data` has many things: those that changed after the entry `after`, or whose id is one of `ids`, as
        they are now. May name more than changed; `after` 0: only `ids`."""
        return []


_topics: dict[str, Topic] = {}


def register(topic: Topic) -> Topic:
    """Make `topic` known. Raises ValueError when its name is taken or cannot be written in an address."""
    if topic.name in _topics or not topic.name or ":" in topic.name:
        raise ValueError(f"{topic.name!r} is taken or is no name for a topic")
    _topics[topic.name] = topic
    return topic


def topics() -> Mapping[str, Topic]:
    """Every registered topic by name; a live, read-only view."""
    return MappingProxyType(_topics)
