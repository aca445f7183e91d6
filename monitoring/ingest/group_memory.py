"""The last instants of what the catalogue is fed from, in Redis: several processes may take in the parts of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from portal.toolkit import redis

log = structlog.get_logger(__name__)

KEPT_S = 3600
INSTANTS_KEPT = 8
"""And all of the last INSTANTS_KEPT_MS, at most four times as many: how far the shards of a sender may be apart."""
INSTANTS_KEPT_MS = 30_000
SETTLED_MS = 6_000
"""Prometheus sends what it has at least every 5 s: what did not come in that time before is not awaited."""
AWAITED = 3
"""A series that was there in one of so many instants before, or in the last SETTLED_MS, is awaited."""
OWNED_MS = 600_000
"""Of two exporters on one host that show the same, the other one counts when the first was silent so long."""

ENTRY = np.dtype([("id", "<u8"), ("value", "<f8")])
Entries = NDArray[np.void]
Instants = list[tuple[int, Entries]]

# KEYS: a group of a server each, ascending by instant; ARGV: the numbers above, then of each key the target, the
# instant and its entries. Of a series that is there already the first value stays. Answers of each key the instants up
# to that one that matter, oldest first; nothing for a target that does not own the group.
_REMEMBER = """
local expiry, kept, kept_ms, settled_ms, awaited, owned_ms = unpack(ARGV, 1, 6)
kept, kept_ms, settled_ms = tonumber(kept), tonumber(kept_ms), tonumber(settled_ms)
awaited, owned_ms = tonumber(awaited), tonumber(owned_ms)
local answers = {}
for i, key in ipairs(KEYS) do
  local target, said, entries = ARGV[4 + i * 3], ARGV[5 + i * 3], ARGV[6 + i * 3]
  local at = tonumber(said)
  local answer = {}
  local owner = redis.call('HMGET', key, 'owner', 'newest')
  local newest = tonumber(owner[2] or 0)
  if owner[1] ~= target and at > newest + owned_ms then
    redis.call('DEL', key)
    redis.call('HSET', key, 'owner', target)
    owner[1], newest = target, 0
  end
  if owner[1] == target then
    local had = redis.call('HGET', key, said)
    if had then
      local seen, more = {}, {had}
      for place = 1, #had, 16 do seen[string.sub(had, place, place + 7)] = true end
      for place = 1, #entries, 16 do
        if not seen[string.sub(entries, place, place + 7)] then
          more[#more + 1] = string.sub(entries, place, place + 15)
        end
      end
      entries = table.concat(more)
    end
    newest = math.max(newest, at)
    redis.call('HSET', key, said, entries, 'newest', string.format('%.0f', newest))
    redis.call('EXPIRE', key, expiry)
    local instants = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
      if field ~= 'owner' and field ~= 'newest' then instants[#instants + 1] = field end
    end
    table.sort(instants, function(a, b) return tonumber(a) > tonumber(b) end)
    local wanted, count, done = {}, 0, false
    for rank, field in ipairs(instants) do
      local instant = tonumber(field)
      if rank > kept * 4 or (rank > kept and instant < newest - kept_ms) then
        redis.call('HDEL', key, field)
      elseif instant == at then
        table.insert(wanted, 1, field)
      elseif instant < at and not done then
        table.insert(wanted, 1, field)
        count = count + 1
        done = count >= awaited and instant < at - settled_ms
      end
    end
    for _, field in ipairs(wanted) do
      answer[#answer + 1] = field
      answer[#answer + 1] = redis.call('HGET', key, field)
    end
    if wanted[#wanted] ~= said then answer = {} end
  end
  answers[i] = answer
end
return answers
"""


class Piece(NamedTuple):
    """What a request has of a group of a server at one instant."""

    at_ms: int
    host: str
    server_id: int
    group: int
    target: bytes
    entries: Entries


def remember(pieces: Sequence[Piece]) -> list[Instants]:
    """Of each piece what is known of its group, oldest first, itself the last; nothing where nothing can be told."""
    keys = [f"derive:{piece.server_id}:{piece.group}" for piece in pieces]
    limits = (KEPT_S, INSTANTS_KEPT, INSTANTS_KEPT_MS, SETTLED_MS, AWAITED, OWNED_MS)
    parts = [part for piece in pieces for part in (piece.target, piece.at_ms, piece.entries.tobytes())]
    try:
        with redis.breaker:
            answers = redis.client().eval(_REMEMBER, len(keys), *keys, *limits, *parts)
    except redis.AWAY as error:
        log.warning("derive_memory_away", error=str(error))
        return [[] for _ in pieces]
    return [
        [(int(at), np.frombuffer(entries, ENTRY)) for at, entries in zip(answer[::2], answer[1::2], strict=True)]
        for answer in answers
    ]
