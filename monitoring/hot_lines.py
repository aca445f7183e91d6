"""The last minutes of one number of each server, for sparklines: a ring of slots in Redis.

`hot:cpu:<server id>` is a string of SLOTS_KEPT entries of 8 bytes. The 5 s slot n of the epoch is at n modulo
SLOTS_KEPT: its number as little-endian uint32, then the value as float32. An entry that names another slot is an old
one. So a server is read with one look-up, wherever in the ring its minutes begin.
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
LINE = "cpu"
"""The metric."""
EXPIRY_S = SLOT_MS // 1000 * (SLOTS_KEPT + 12)

_MOST = 3.4e38
"""What a float32 has room for."""

_ENTRY = struct.Struct("<If")
_RING = np.dtype([("slot", "<u4"), ("value", "<f4")])
_LENGTH = _RING.itemsize * SLOTS_KEPT

# Puts the entry of one slot into the ring of each server; one that is a whole ring late leaves the newer in its place.
# ARGV: the slot, where it is in the ring, expiry, then id and entry of each server.
_PUT = """
for i = 4, #ARGV, 2 do
  local key = 'hot:cpu:' .. ARGV[i]
  local old = redis.call('GETRANGE', key, ARGV[2], ARGV[2] + 3)
  if #old < 4 or struct.unpack('<I4', old) <= tonumber(ARGV[1]) then
    redis.call('SETRANGE', key, ARGV[2], ARGV[i + 1])
    redis.call('EXPIRE', key, ARGV[3])
  end
end
"""


def queue(pipeline: Any, slots: Mapping[int, Mapping[int, float]]) -> None:
    """Queue the writing of slot → server id → value."""
    for slot, values in slots.items():
        entries = ((pk, _ENTRY.pack(slot, min(max(value, -_MOST), _MOST))) for pk, value in values.items())
        place = slot % SLOTS_KEPT * _ENTRY.size
        pipeline.eval(_PUT, 0, slot, place, EXPIRY_S, *(part for entry in entries for part in entry))


def recent(server_ids: Sequence[int], slots: int = SLOTS_KEPT) -> Floats:
    """The values in the newest `slots` 5 s slots: servers × slots, oldest first, NaN where there is none.

    One round trip. For sparklines: when Redis is away every value is NaN.
    """
    if not server_ids:
        return np.empty((0, slots))
    try:
        with breaker:
            rings: list[bytes | None] = client().mget([f"hot:cpu:{server_id}" for server_id in server_ids])  # type: ignore[assignment]
    except AWAY:
        return np.full((len(server_ids), slots), np.nan)
    last = int(timezone.now().timestamp() * 1000) // SLOT_MS
    wanted = np.arange(last - slots + 1, last + 1)
    packed = b"".join([(ring or b"").ljust(_LENGTH, b"\0") for ring in rings])
    entries = np.frombuffer(packed, _RING).reshape(len(server_ids), SLOTS_KEPT)[:, wanted % SLOTS_KEPT]
    values = np.round(entries["value"].astype(np.float64), 3)
    return np.where(entries["slot"] == wanted, values, np.nan)
