"""Lines as columns, and the columns as few bytes.

A block's `head` has what tells lines apart without their words: instants (pcodec), then levels, servers, sources, cuts
and which fields, as codes of small dictionaries, narrow and together (zstd). Its `body` has the texts and the fields,
each zstd, and each unpacked only when somebody asks for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import cramjam
import numpy as np
import orjson
from numpy.typing import NDArray

from monitoring.history.codec import Ints, join, pack, split, unpack_ints
from monitoring.logs.line import KeptLine, Level, Position

Codes = NDArray[np.int32]
Bytes = NDArray[np.uint8]
Said = TypeVar("Said", str, bytes)

END = b"\xff"
"""Follows each text of a block: no UTF-8 has this byte, so nothing that is looked for reaches across two lines."""
QUICK, SMALL = 1, 7
"""Of zstd: for what is packed again within seconds or hours, and for what stays."""
HEAD_BYTES_A_LINE = 33
_NARROW = (np.uint8, np.uint16, np.uint32, np.uint64)


class Packed(NamedTuple):
    head: bytes
    body: bytes


@dataclass
class Block:
    """Lines of one day, ascending by position; of tier 0 by instant, then as they came. Never changes.

    Arrays have one element a line: `at_ns` int64, `levels` uint8, `server_ids` int64, `cuts` int64 (bytes of the text
    that were not kept); `source_of` and `field_of` (int32) are indexes into `sources` and `field_docs`. A doc is the
    JSON object of a line's fields with its names in order; the first is b"" for none, the others are in order of
    appearance. `plain_bytes` is what is to be unpacked from `body`; `scratch` is for what a reader works out.
    """

    at_ns: Ints
    levels: Bytes
    server_ids: Ints
    sources: list[str]
    source_of: Codes
    field_of: Codes
    cuts: Ints
    body: bytes = b""
    id: int = 0
    plain_bytes: int = 0
    scratch: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return len(self.at_ns)

    @cached_property
    def texts(self) -> bytes:
        """UTF-8 of all texts, each followed by END."""
        return _inflate(split(self.body)[0])

    @cached_property
    def field_docs(self) -> list[bytes]:
        return _inflate(split(self.body)[1]).split(END)

    @cached_property
    def ends(self) -> Ints:
        """Where the texts end: text i is texts[starts[i]:ends[i]]."""
        return np.flatnonzero(np.frombuffer(self.texts, np.uint8) == END[0])

    @cached_property
    def starts(self) -> Ints:
        return np.concatenate(([0], self.ends[:-1] + 1)).astype(np.int64)

    @cached_property
    def numbers(self) -> Ints:
        """Of all lines, about 1 µs each: `number` is for a few."""
        return np.array([self.number(index) for index in range(self.count)], np.int64)

    @property
    def level_mask(self) -> int:
        """Bit 1 << level for each level that it has."""
        return int(np.bitwise_or.reduce(1 << self.levels.astype(np.int64)))

    @property
    def owners(self) -> list[int]:
        """The servers that it has lines of, in order."""
        owners: list[int] = np.unique(self.server_ids).tolist()
        return owners

    def number(self, index: int) -> int:
        """What the line says, as `Position.number`."""
        return number_of(
            int(self.server_ids[index]),
            int(self.levels[index]),
            self.sources[self.source_of[index]],
            int(self.cuts[index]),
            self.field_docs[self.field_of[index]],
            self.raw(index),
        )

    def position(self, index: int) -> Position:
        return Position(int(self.at_ns[index]), self.number(index))

    def raw(self, index: int) -> bytes:
        return self.texts[self.starts[index] : self.ends[index]]

    def text(self, index: int) -> str:
        return self.raw(index).decode()

    def line(self, index: int) -> KeptLine:
        doc = self.field_docs[self.field_of[index]]
        return KeptLine(
            self.position(index),
            int(self.server_ids[index]),
            Level(int(self.levels[index])),
            self.sources[self.source_of[index]],
            self.text(index),
            orjson.loads(doc) if doc else {},
            int(self.cuts[index]),
        )

    @property
    def nbytes(self) -> int:
        """About what it takes in memory: texts and fields with twice as much that readers work out from them."""
        return 3 * self.plain_bytes + len(self.body) + HEAD_BYTES_A_LINE * self.count + 1_000


def number_of(server_id: int, level: int, source: str, cut: int, doc: bytes, raw: bytes) -> int:
    """A line as a number below 2**63: the same wherever and however often it is kept."""
    said = b"%d\n%d\n%d\n%b\n%b\n%b" % (server_id, level, cut, source.encode(), doc, raw)
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big") >> 1


def pack_block(block: Block, level: int = QUICK) -> Packed:
    """The same lines are always the same bytes."""
    ids, server_of = np.unique(block.server_ids, return_inverse=True)
    plain = [block.texts, END.join(block.field_docs)]
    names = orjson.dumps([ids.tolist(), block.sources, sum(map(len, plain))])
    columns = (block.levels, server_of, block.source_of, _told(block.field_of), block.cuts)
    codes = join([names, *(_narrow(column) for column in columns)])
    head = join([pack(block.at_ns), _deflate(codes, level)])
    return Packed(head, join([_deflate(part, level) for part in plain]))


def unpack_block(block_id: int, head: bytes, body: bytes) -> Block:
    """The head is unpacked at once, the body when it is asked for."""
    packed_at, packed_codes = split(head)
    names, *columns = split(_inflate(packed_codes))
    at_ns = unpack_ints(packed_at)
    levels, server_of, source_of, field_of, cuts = (_widen(column, len(at_ns)) for column in columns)
    ids, sources, plain_bytes = orjson.loads(names)
    return Block(
        at_ns,
        levels.astype(np.uint8),
        np.array(ids, np.int64)[server_of],
        sources,
        source_of.astype(np.int32),
        _meant(field_of.astype(np.int32)),
        cuts.astype(np.int64),
        body,
        block_id,
        plain_bytes,
    )


def instants_in(head: bytes) -> Ints:
    """Only the instants of a block."""
    return unpack_ints(split(head)[0])


def _narrow(column: NDArray[Any]) -> bytes:
    """As the narrowest integers that hold it; nothing when all are 0."""
    most = int(column.max())
    if most == 0:
        return b""
    kind = next(kind for kind in _NARROW if most <= np.iinfo(kind).max)
    return column.astype(kind).tobytes()


def _widen(column: bytes, count: int) -> NDArray[Any]:
    if not column:
        return np.zeros(count, np.uint8)
    kind = next(kind for kind in _NARROW if np.dtype(kind).itemsize == len(column) // count)
    return np.frombuffer(column, kind)


def _told(codes: Codes) -> NDArray[np.int32]:
    """Codes of docs, of which each new one is one more than the highest so far, as small numbers: 0 is no fields, 1 a
    new doc, n the one n - 2 before the newest. Lines with fields of their own, which rarely repeat, are 1 all the way.
    """
    highest = np.maximum.accumulate(np.append(0, codes))[:-1]
    told = np.where(codes > highest, 1, highest - codes + 2)
    return np.where(codes == 0, 0, told).astype(np.int32)


def _meant(told: Codes) -> Codes:
    """What `_told` was given."""
    newest = np.cumsum(told == 1)
    codes = np.where(told == 1, newest, newest - told + 2)
    return np.where(told == 0, 0, codes).astype(np.int32)


def _deflate(plain: bytes, level: int) -> bytes:
    return bytes(cramjam.zstd.compress(plain, level))


def _inflate(packed: bytes) -> bytes:
    return bytes(cramjam.zstd.decompress(packed))
