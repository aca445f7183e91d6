"""The last minutes of a few headline numbers of each server, for sparklines: a ring of slots in Redis.

`hot:line:<server id>` is a string of SLOTS_KEPT entries of 24 bytes. The 5 s slot n of the epoch is at n modulo
SLOTS_KEPT: its number as little-endian uint32, then the HEADLINE metrics as float32. An entry that names another slot
is an old one. So a server is read with one look-up, wherever in the ring its minutes begin.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from django.utils import timezone

from monitoring.history.frame import Floats
from portal.toolkit.redis import AWAY, breaker, client

SLOT_MS = 5_000
SLOTS_KEPT = 60
HEADLINE = ("cpu", "memory", "disk", "net_rx", "net_tx")
EXPIRY_S = SLOT_MS // 1000 * (SLOTS_KEPT + 12)

_SLOT = struct.Struct("<I")
_RING = np.dtype([("slot", "<u4"), ("values", "<f4", len(HEADLINE))])
_LENGTH = _RING.itemsize * SLOTS_KEPT

# Puts the entry of one slot into the ring of each server; one that is a whole ring late leaves the newer in its place.
# ARGV: the slot, where it is in the ring, its four bytes, expiry, then id and values of each server.
_PUT = """
for i = 5, #ARGV, 2 do
  local key = 'hot:line:' .. ARGV[i]
  local old = redis.call('GETRANGE', key, ARGV[2], ARGV[2] + 3)
  if #old < 4 or struct.unpack('<I4', old) <= tonumber(ARGV[1]) then
    redis.call('SETRANGE', key, ARGV[2], ARGV[3] .. ARGV[i + 1])
    redis.call('EXPIRE', key, ARGV[4])
  end
end
"""


def queue(pipeline: Any, slots: Mapping[int, Mapping[Any, bytes]]) -> None:
    """Queue the writing of slot → server id → the HEADLINE metrics as float32."""
    for slot, values in slots.items():
        arguments = [part for one in values.items() for part in one]
        place = slot % SLOTS_KEPT * _RING.itemsize
        pipeline.eval(_PUT, 0, slot, place, _SLOT.pack(slot), EXPIRY_S, *arguments)


def recent(server_ids: Sequence[int], metric: str, slots: int = SLOTS_KEPT) -> Floats:
    """One HEADLINE metric in the newest `slots` 5 s slots: servers × slots, oldest first, NaN where there is none.

    One round trip. For sparklines: when Redis is away every value is NaN.
    """
    if not server_ids:
        return np.empty((0, slots))
    try:
        with breaker:
            rings: list[bytes | None] = client().mget([f"hot:line:{server_id}" for server_id in server_ids])  # type: ignore[assignment]
    except AWAY:
        return np.full((len(server_ids), slots), np.nan)
    last = int(timezone.now().timestamp() * 1000) // SLOT_MS
    wanted = np.arange(last - slots + 1, last + 1)
    packed = b"".join([(ring or b"").ljust(_LENGTH, b"\0") for ring in rings])
    entries = np.frombuffer(packed, _RING).reshape(len(server_ids), SLOTS_KEPT)[:, wanted % SLOTS_KEPT]
    values = np.round(entries["values"][:, :, HEADLINE.index(metric)].astype(np.float64), 3)
    return np.where(entries["slot"] == wanted, values, np.nan)
