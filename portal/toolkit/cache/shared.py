"""The part of the cache that all processes share, in Redis: entries with an expiry, and who is making a new one.

`cache:entry:<key>` is made_at (float64, big-endian) and the data; `cache:making:<key>` is there while it is being made.
"""

from __future__ import annotations

import secrets
import struct
import time
from typing import NamedTuple

import structlog

from portal.toolkit.cache.entry import Entry
from portal.toolkit.redis import AWAY, breaker, client

log = structlog.get_logger(__name__)

ENTRY, MAKING = "cache:entry:", "cache:making:"
LOCK_MS = 12_000
"""Longer than a request may take: who died while making is succeeded after this."""
LOOK_EVERY_S = 0.03

_HEAD = struct.Struct(">d")

# The entry when it is young enough; else also whether it is now ours to make a new one.
_ASK = """
local entry = redis.call('GET', KEYS[1])
if entry and struct.unpack('>d', entry) >= tonumber(ARGV[2]) then
  return {entry, 0}
end
local mine = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[3])
return {entry or '', mine and 1 or 0}
"""
_PUT = """
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if redis.call('GET', KEYS[2]) == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"


class Asked(NamedTuple):
    """What there was, if anything, and whether the asker is to make a new one."""

    entry: Entry | None
    mine: bool


class Shared:
    """Without Redis there is nothing, and whoever asks makes."""

    def __init__(self) -> None:
        self._me = secrets.token_hex(8)

    def ask(self, key: str, least_made_at: float) -> Asked:
        """One round trip."""
        try:
            with breaker:
                found, mine = client().eval(_ASK, 2, ENTRY + key, MAKING + key, self._me, repr(least_made_at), LOCK_MS)
        except AWAY:
            return Asked(None, True)
        return Asked(_entry(found), bool(mine))

    def wait(self, key: str, least_made_at: float, seconds: float) -> Entry | None:
        """What somebody else is making, when it comes in time; None as soon as nobody makes it any more."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(LOOK_EVERY_S)
            try:
                with breaker:
                    found, making = client().mget(ENTRY + key, MAKING + key)
            except AWAY:
                return None
            entry = _entry(found)
            if entry is not None and entry.made_at >= least_made_at:
                return entry
            if making is None:
                return None
        return None

    def put(self, key: str, entry: Entry, kept_s: float) -> None:
        """Keep it for all, and say that it is made."""
        data = _HEAD.pack(entry.made_at) + entry.data
        self._tell(_PUT, 2, ENTRY + key, MAKING + key, self._me, data, int(kept_s * 1000))

    def release(self, key: str) -> None:
        """It could not be made: somebody else may try."""
        self._tell(_RELEASE, 1, MAKING + key, self._me)

    def _tell(self, *arguments: str | bytes | int) -> None:
        try:
            with breaker:
                client().eval(*arguments)  # type: ignore[arg-type]
        except AWAY as error:
            log.warning("cache_write_failed", error=str(error))


def _entry(packed: bytes | str | None) -> Entry | None:
    if not packed:
        return None
    assert isinstance(packed, bytes)  # what our client answers
    return Entry(packed[_HEAD.size :], _HEAD.unpack_from(packed)[0])


def shared_size(most: int = 10_000) -> tuple[int, int]:
    """(entries, bytes) in Redis; of so many at most. Raises what `AWAY` names."""
    with breaker:
        keys = []
        for key in client().scan_iter(match=f"{ENTRY}*", count=1000):
            keys.append(key)
            if len(keys) >= most:
                break
        pipeline = client().pipeline(transaction=False)
        for key in keys:
            pipeline.strlen(key)
        return len(keys), sum(pipeline.execute())
