"""The hot layer: the newest values of every server, and one number of its last minutes, in Redis.

Everything here can vanish at any moment: what is missing is read from the warm rows and put back. Layout:

- `hot:newest`, a hash server id → cuts. A cut is what one sender last said about one block:
  at (float64 ms), block (int32), present (int64), count (uint16), all big-endian, then `count` little-endian float64.
  Sources of one server with different slots are different cuts, so that none hides another. "" = nothing is known.
- `hot:cpu:<server id>`, the last minutes for a sparkline (hot_lines.py).
- `hot:whole`, there while nobody has emptied Redis since the lines were last put back.
"""

from __future__ import annotations

import math
import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import structlog
from django.db import connection
from django.utils import timezone

from monitoring import hot_lines
from monitoring.history.chunks import newest_of
from monitoring.history.encode import Matrix, Rows, pattern_of, slots_of
from monitoring.history.frame import FUTURE_MS, SeriesName
from monitoring.history.series import Place, places_of
from monitoring.hot_lines import LINE, SLOT_MS, SLOTS_KEPT
from monitoring.models import Server
from portal.toolkit.live.touch import touch
from portal.toolkit.redis import AWAY, breaker, client

log = structlog.get_logger(__name__)

NEWEST = "hot:newest"
WHOLE = "hot:whole"
REBUILT_AT_ONCE = 1_000
NEWEST_EXPIRY_S = 86_400
REBUILD_FROM = timedelta(hours=3)
"""What is older is not put back: three times the longest interval of a source."""
CUTS_KEPT = 16
"""Of each block. A sender whose gaps move has many shapes, and a server with thousands of series has many blocks."""
SHAPES_KEPT = 200_000

_LINE = SeriesName(LINE)
_CUT = struct.Struct(">diqH")
_NUMBER = struct.Struct("<d")

# Puts each cut into its server's field: a late frame never overwrites a newer one, another sender's cut stays.
# A cut from beyond the latest instant that can be is of a clock that was set back since: it goes.
_MERGE = """
local head, most, latest = 22, tonumber(ARGV[1]), tonumber(ARGV[3])
for i = 4, #ARGV, 2 do
  local field, cut = ARGV[i], ARGV[i + 1]
  local old = redis.call('HGET', KEYS[1], field)
  if not old or old == '' then
    redis.call('HSET', KEYS[1], field, cut)
  else
    local at, who, block = struct.unpack('>d', cut), string.sub(cut, 9, 20), string.sub(cut, 9, 12)
    local others, same_block, oldest, oldest_at = {}, 0, 0, math.huge
    local place, newer = 1, true
    while newer and place <= #old do
      local stop = place + head + struct.unpack('>H', old, place + 20) * 8 - 1
      local old_at = struct.unpack('>d', old, place)
      if old_at <= latest then
        if string.sub(old, place + 8, place + 19) ~= who then
          others[#others + 1] = string.sub(old, place, stop)
          if string.sub(old, place + 8, place + 11) == block then
            same_block = same_block + 1
            if old_at < oldest_at then
              oldest, oldest_at = #others, old_at
            end
          end
        elseif old_at >= at then
          newer = false
        end
      end
      place = stop + 1
    end
    if newer then
      if same_block >= most then
        table.remove(others, oldest)
      end
      redis.call('HSET', KEYS[1], field, cut .. table.concat(others))
    end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

Newest = dict[SeriesName, tuple[int, float]]
"""Per series the instant (epoch ms) and the value."""


# --- Writing ----------------------------------------------------------------------------------------------------------


def write(groups: Sequence[Matrix], rows: Sequence[Rows], now: datetime) -> None:
    """Put what was just committed into Redis and touch the live pages: one round trip. Never raises for Redis."""
    now_ms = int(now.timestamp() * 1000)
    committed_ms = time.time_ns() // 1_000_000
    try:
        with breaker:
            pipeline = client().pipeline(transaction=False)
            _queue_newest(pipeline, _cuts(rows))
            hot_lines.queue(pipeline, _lines(groups, now_ms))
            ids = np.unique(np.concatenate([row.server_ids for row in rows])).tolist()
            touch({"server": ids, "vitals": ids, "samples": ids, "fleet": None}, pipeline, committed_ms)
            pipeline.execute()
    except AWAY as error:
        log.warning("hot_write_failed", error=str(error))


def _queue_newest(pipeline: Any, cuts: Iterable[tuple[int, bytes]]) -> None:
    arguments = [part for cut in cuts for part in cut]
    if arguments:
        latest_ms = int(timezone.now().timestamp() * 1000) + FUTURE_MS
        pipeline.eval(_MERGE, 1, NEWEST, CUTS_KEPT, NEWEST_EXPIRY_S, latest_ms, *arguments)


def _cuts(all_rows: Iterable[Rows]) -> Iterator[tuple[int, bytes]]:
    """The newest cut of each server in each set of rows."""
    for rows in all_rows:
        order = np.lexsort((rows.at_ms, rows.server_ids))
        last = order[np.append(np.diff(rows.server_ids[order]) != 0, True)]
        body = np.ascontiguousarray(rows.values[last], "<f8")
        for server_id, at_ms, values in zip(
            rows.server_ids[last].tolist(), rows.at_ms[last].tolist(), body, strict=True
        ):
            yield server_id, _CUT.pack(at_ms, rows.block, rows.present, len(values)) + values.tobytes()


def _lines(groups: Iterable[Matrix], now_ms: int) -> dict[int, dict[int, float]]:
    """slot → server id → value, of frames young enough for a sparkline."""
    slots: dict[int, dict[int, float]] = defaultdict(dict)
    oldest = now_ms // SLOT_MS - SLOTS_KEPT
    for group in groups:
        if _LINE not in group.layout:
            continue
        values = group.values[:, group.layout.index(_LINE)]
        for server_id, slot, value in zip(
            group.server_ids.tolist(), (group.at_ms // SLOT_MS).tolist(), values.tolist(), strict=True
        ):
            if slot >= oldest and not math.isnan(value):
                slots[slot][server_id] = value
    return slots


def rebuild_recent(now: datetime) -> bool:
    """After Redis was emptied, put the last minutes back from the warm rows; True when that was needed.

    A mark in Redis says that it was done. One query per thousand servers; harmless beside `write`, which puts the same.
    """
    try:
        with breaker:
            if not client().set(WHOLE, b"1", nx=True, ex=NEWEST_EXPIRY_S):
                return False
        server_ids = list(Server.objects.values_list("pk", flat=True))
        for start in range(0, len(server_ids), REBUILT_AT_ONCE):
            slots = _warm_lines(server_ids[start : start + REBUILT_AT_ONCE], now)
            with breaker:
                pipeline = client().pipeline(transaction=False)
                hot_lines.queue(pipeline, slots)
                pipeline.execute()
    except AWAY as error:
        log.warning("hot_rebuild_failed", error=str(error))
    return True


def _warm_lines(server_ids: Sequence[int], now: datetime) -> dict[int, dict[int, float]]:
    """slot → server id → value, as `_lines` makes them, of the last minutes' warm rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT server_id, block, present, (date_part('epoch', at) * 1000)::bigint, vals FROM monitoring_frame
            WHERE server_id = ANY(%s) AND at > %s ORDER BY at, batch_id DESC
            """,
            [list(server_ids), now - timedelta(milliseconds=SLOT_MS * SLOTS_KEPT)],
        )
        rows = cursor.fetchall()
    shapes = shapes_of({(row[0], row[1], row[2]) for row in rows})
    slots: dict[int, dict[int, float]] = defaultdict(dict)
    for server_id, block, present, at_ms, vals in rows:
        shape = shapes[server_id, block, present]
        if shape.line_at is not None:
            (slots[at_ms // SLOT_MS][server_id],) = _NUMBER.unpack_from(vals, shape.line_at)
    return slots


# --- Reading ----------------------------------------------------------------------------------------------------------


def newest(server_ids: Sequence[int]) -> dict[int, Newest]:
    """The newest value of every series of the servers; {} for one of which nothing is known, or nothing young enough
    to be put back after a flush.

    One Redis round trip, and none to PostgreSQL while Redis has the answer.
    """
    answer: dict[int, Newest] = {}
    for server_id, cuts in _cuts_of(server_ids).items():
        values = answer[server_id] = {}
        for cut, shape in cuts:
            numbers = struct.iter_unpack("<d", cut.packed)
            values.update(zip(shape.names, ((cut.at_ms, value) for (value,) in numbers), strict=True))
    return answer


def newest_at(server_ids: Sequence[int]) -> dict[int, int]:
    """The instant (epoch ms) of each server's newest sample; servers of which nothing is known are left out."""
    blobs = cut_blobs(server_ids)
    return {server_id: max(cut.at_ms for cut in parse(blob)) for server_id, blob in blobs.items() if blob}


def cut_blobs(server_ids: Sequence[int]) -> dict[int, bytes]:
    """The cuts of each server, from Redis; what Redis does not know comes from the warm rows and is put back."""
    if not server_ids:
        return {}
    found: list[bytes | None] = [None] * len(server_ids)
    redis_answers = True
    try:
        with breaker:
            found = client().hmget(NEWEST, list(server_ids))  # type: ignore[assignment]
    except AWAY:
        redis_answers = False
    blobs = {server_id: blob for server_id, blob in zip(server_ids, found, strict=True) if blob is not None}
    missing = [server_id for server_id in server_ids if server_id not in blobs]
    if missing:
        warm = _warm_cuts(missing)
        blobs |= {server_id: b"".join(warm[server_id]) for server_id in missing}
        if redis_answers:
            _put_back(warm)
    return blobs


def _put_back(warm: dict[int, list[bytes]]) -> None:
    try:
        with breaker:
            pipeline = client().pipeline(transaction=False)
            for server_id in (server_id for server_id, cuts in warm.items() if not cuts):
                pipeline.hsetnx(NEWEST, str(server_id), b"")
            _queue_newest(pipeline, ((server_id, cut) for server_id, cuts in warm.items() for cut in cuts))
            pipeline.execute()
    except AWAY as error:
        log.warning("hot_rebuild_failed", error=str(error))


def _warm_cuts(server_ids: Sequence[int]) -> dict[int, list[bytes]]:
    """The newest few rows of every block of the servers, as cuts; one query, one index probe per block.

    One more where there are none: then the newest sealed samples.
    """
    since = timezone.now() - REBUILD_FROM
    cuts: dict[int, dict[tuple[int, int], bytes]] = {server_id: {} for server_id in server_ids}
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT known.server_id, known.block, (date_part('epoch', at) * 1000)::bigint, present, vals
            FROM (SELECT DISTINCT server_id, block FROM monitoring_series WHERE server_id = ANY(%s)) known
            CROSS JOIN LATERAL (
                SELECT at, present, vals FROM monitoring_frame
                WHERE server_id = known.server_id AND block = known.block AND at > %s
                ORDER BY at DESC LIMIT 4
            ) frame
            """,
            [list(server_ids), since],
        )
        for server_id, block, at_ms, present, vals in cursor.fetchall():
            cut = _CUT.pack(at_ms, block, present, len(vals) // 8) + bytes(vals)
            cuts[server_id].setdefault((block, present), cut)
    without = [server_id for server_id, found in cuts.items() if not found]
    sealed = _sealed_cuts(without, since) if without else {}
    return {server_id: list(found.values()) or sealed.get(server_id, []) for server_id, found in cuts.items()}


def _sealed_cuts(server_ids: Sequence[int], since: datetime) -> dict[int, list[bytes]]:
    """The newest sealed sample of each series of the servers, as cuts: one for all of a block at one instant."""
    cuts: dict[int, list[bytes]] = {}
    for server_id, newest in newest_of(server_ids, since).items():
        rows: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        for place, (at_ms, value) in newest.items():
            rows[at_ms, place.block][place.slot] = value
        cuts[server_id] = [
            _CUT.pack(at_ms, block, pattern_of(row), len(row))
            + b"".join(_NUMBER.pack(row[slot]) for slot in sorted(row))
            for (at_ms, block), row in rows.items()
        ]
    return cuts


class _Cut(NamedTuple):
    at_ms: int
    block: int
    present: int
    packed: bytes


def parse(blob: bytes) -> list[_Cut]:
    cuts, place = [], 0
    while place < len(blob):
        at_ms, block, present, count = _CUT.unpack_from(blob, place)
        start = place + _CUT.size
        place = start + _NUMBER.size * count
        cuts.append(_Cut(int(at_ms), block, present, blob[start:place]))
    return cuts


def _cuts_of(server_ids: Sequence[int]) -> dict[int, list[tuple[_Cut, _Shape]]]:
    """The cuts of each server, oldest first, each with what its values are."""
    cuts = {server_id: sorted(parse(blob)) for server_id, blob in cut_blobs(server_ids).items()}
    shapes = shapes_of({(server_id, cut.block, cut.present) for server_id, some in cuts.items() for cut in some})
    return {
        server_id: [(cut, shapes[server_id, cut.block, cut.present]) for cut in cuts.get(server_id, [])]
        for server_id in server_ids
    }


def shapes_of(wanted: set[tuple[int, int, int]]) -> dict[tuple[int, int, int], _Shape]:
    """The shapes of (server id, block, present). One query when this process does not know them all."""
    found = {key: shape for key in wanted if (shape := _shapes.get(key))}
    unknown = wanted - found.keys()
    if unknown:
        places = places_of({server_id for server_id, _, _ in unknown})
        names = {server_id: {place: name for name, place in known.items()} for server_id, known in places.items()}
        made = {key: _Shape.of(names[key[0]], key[1], key[2]) for key in unknown}
        if len(_shapes) + len(made) > SHAPES_KEPT:
            _shapes.clear()
        _shapes.update(made)
        found |= made
    return found


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the values of a cut are, in their order, and at which byte that of a sparkline begins, if it is there."""

    names: tuple[SeriesName, ...]
    line_at: int | None

    @classmethod
    def of(cls, names: Mapping[Place, SeriesName], block: int, present: int) -> _Shape:
        row = tuple(names.get(Place(block, slot), SeriesName("")) for slot in slots_of(present))
        return cls(row, _NUMBER.size * row.index(_LINE) if _LINE in row else None)


_shapes: dict[tuple[int, int, int], _Shape] = {}
"""A server's slots never change their series, so a shape that was looked up once stays true."""
