"""Frames of the hub as server-sent events: whole for pages, thing by thing for programs."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from portal.toolkit.live.admission import in_thread
from portal.toolkit.live.programs import json_of
from portal.toolkit.live.topic import Address, topics

HEARTBEAT_S = 30.0

_NEWLINE = re.compile(r"\r\n|\r|\n")
_GONE = re.compile(r'<template data-gone="([^"]*)">')
_LAST_ENTRY = re.compile(r"[0-9a-f]{1,16}\.([0-9]{1,18})")
_HEALTH = re.compile(r'\bdata-health="(\w+)"')


def event(name: str, data: str, event_id: str) -> str:
    lines = "\ndata: ".join(_NEWLINE.split(data))
    return f"event: {name}\nid: {event_id}\ndata: {lines}\n\n"


class Events(Protocol):
    """Makes the text of a stream. `event_id` is that of what was made last."""

    @property
    def event_id(self) -> str: ...

    async def opening(self, addresses: Iterable[Address]) -> str:
        """What comes before the first frame; `addresses` are watched."""

    async def of(self, frame: str) -> str: ...


class PageEvents:
    """A frame is one event, the very text that a socket gets."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._frames = 0

    @property
    def event_id(self) -> str:
        return f"{self._epoch}.{self._frames}"

    async def opening(self, addresses: Iterable[Address]) -> str:
        return ""

    async def of(self, frame: str) -> str:
        self._frames += 1
        return event("frame", frame, self.event_id)


class ProgramEvents:
    """An event for each thing. Of things that are many under one key, the frames have all; only what is new or other
    is told on, and who was told of one hears of its end, also when that is looked up. The id has the newest entry.
    """

    def __init__(self, epoch: str, last_event_id: str) -> None:
        self._epoch = epoch
        last = _LAST_ENTRY.fullmatch(last_event_id)
        self._entry = int(last[1]) if last else 0
        self._known: dict[str, dict[str, _Known]] = {}  # by address
        self._heartbeat_at = 0.0

    @property
    def event_id(self) -> str:
        return f"{self._epoch}.{self._entry}"

    async def opening(self, addresses: Iterable[Address]) -> str:
        """What changed since the last event that the program had. Raises DATABASE_AWAY."""
        if not self._entry:
            return ""
        return "".join([await self._look_up(address, self._entry, ()) for address in addresses])

    async def of(self, frame: str) -> str:
        told: list[str] = []
        lines = frame.split("\n")
        for place, line in enumerate(lines):
            if line.startswith("*"):
                told.append(await self._many(line, lines[place + 1 :]))
            elif gone := _GONE.match(line):
                address = Address.parse(gone[1])
                assert address is not None
                told.append(event(f"{address.topic}_gone", json_of({"id": address.key}), self.event_id))
            elif line.startswith("<"):
                told.append(self._heartbeat(line))
            elif not line.startswith("{"):
                name, _, data = line.partition(" ")
                told.append(event(name, data, self.event_id))
        return "".join(told)

    def _heartbeat(self, beat: str) -> str:
        now = time.monotonic()
        if now - self._heartbeat_at < HEARTBEAT_S and self._heartbeat_at:
            return ""
        self._heartbeat_at = now
        health = _HEALTH.search(beat)
        data = {"at": time.time_ns() // 1_000_000, "epoch": self._epoch, "health": health[1] if health else "ok"}
        return event("heartbeat", json_of(data), self.event_id)

    async def _many(self, head: str, rest: Sequence[str]) -> str:
        name, _, text = head[1:].partition(" ")
        address = Address.parse(text)
        assert address is not None
        is_first = text not in self._known
        things = [orjson.loads(line) for line in _things(rest)]
        known = self._known.setdefault(text, {})
        left = [one for one, was in known.items() if was.is_open] if not is_first else []
        told = self._tell(name, text, things, tells_ended=not is_first)
        here = {thing["id"] for thing in things}
        missing = [one for one in left if one not in here]
        told += await self._look_up(address, 0, missing) if missing else ""
        for one in [one for one, was in known.items() if one not in here and (one in missing or not was.is_open)]:
            del known[one]
        return told

    async def _look_up(self, address: Address, after: int, ids: Sequence[str]) -> str:
        topic = topics()[address.topic]
        things = await in_thread(lambda: topic.missed(address.key, after, ids))
        return self._tell(topic.event, str(address), things, tells_ended=True)

    def _tell(self, name: str, address: str, things: Iterable[Mapping[str, Any]], *, tells_ended: bool) -> str:
        known = self._known.setdefault(address, {})
        told = []
        for thing in things:
            text = json_of(thing)
            was, now = known.get(thing["id"]), _Known(hash(text), thing["ended"] is None)
            known[thing["id"]] = now
            if now != was and (now.is_open or was or tells_ended):
                self._entry = max(self._entry, thing["entry"])
                told.append(event(name, text, self.event_id))
        return "".join(told)


class _Known(NamedTuple):
    """A thing as it was told: what stands for its text, and whether it had not ended."""

    digest: int
    is_open: bool


def _things(lines: Sequence[str]) -> Iterable[str]:
    for line in lines:
        if not line.startswith("{"):
            return
        yield line
