"""Which of 64 blocks may have a word: Bloom filters of the blocks, turned by 90 degrees.

`bits` is a row of 64-bit numbers; bit i of each belongs to block i. A key chooses a bucket of BUCKET numbers and HASHES
of these; a block may have the key where all of them have its bit. So a look-up reads BUCKET numbers, in one piece, for
all blocks at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.logs.codec import Block
from monitoring.logs.folding import keys_of_words
from monitoring.logs.words import Keys, level_keys, server_keys, server_level_keys, source_key

BLOCKS: Final = 64
BUCKET: Final = 128
BUCKET_BYTES: Final = 8 * BUCKET
HASHES: Final = 6
BITS_A_KEY: Final = 18
_BUCKET_BITS: Final = np.uint64(22)
"""Of a key, its lowest, say which bucket; the next HASHES times 7 say which numbers of it."""
_BUCKET_MASK: Final = np.uint64((1 << 22) - 1)


class Sieve(NamedTuple):
    buckets: int
    bits: bytes


def build(blocks: Sequence[Block]) -> Sieve:
    """Of at most BLOCKS blocks, in the order of their bits. No I/O."""
    keys = [keys_of(block) for block in blocks]
    buckets = max(1, -(-BITS_A_KEY * sum(map(len, keys)) // (BUCKET * len(blocks))))
    bits = np.zeros(buckets * BUCKET, np.uint64)
    for place, some in enumerate(keys):
        has = np.zeros(len(bits), np.bool_)
        bucket = (some & _BUCKET_MASK).astype(np.int64) % buckets * BUCKET
        for number in _numbers(some):
            has[bucket + number] = True
        bits |= has.astype(np.uint64) << np.uint64(place)
    return Sieve(buckets, bits.astype("<u8").tobytes())


def keys_of(block: Block) -> Keys:
    """The distinct keys of a block: of its words, its levels, servers and sources."""
    sources = [source_key(block.sources[place]) for place in np.unique(block.source_of)]
    pairs = np.unique(block.server_ids << 3 | block.levels)
    keys = np.concatenate(
        [
            keys_of_words(block),
            np.array(sources, np.uint64),
            level_keys(np.unique(block.levels)),
            server_keys(np.unique(block.server_ids)),
            server_level_keys(pairs >> 3, pairs & 7),
        ]
    )
    keys.sort()  # ten times as fast as unique()
    return np.asarray(keys[np.append(True, keys[1:] != keys[:-1])])


def bucket_number(key: int) -> int:
    """Its remainder by a sieve's number of buckets is the key's bucket there."""
    return key & int(_BUCKET_MASK)


def blocks_with(key: int, buckets: Sequence[bytes]) -> Keys:
    """The blocks of each sieve that may have the key, as bits, by what stands in its bucket there."""
    numbers: Keys = np.frombuffer(b"".join(buckets), "<u8").reshape(len(buckets), BUCKET)
    chosen = [int(number[0]) for number in _numbers(np.array([key], np.uint64))]
    return np.asarray(np.bitwise_and.reduce(numbers[:, chosen], axis=1))


def _numbers(keys: Keys) -> list[NDArray[np.int64]]:
    return [(keys >> _BUCKET_BITS + np.uint64(7 * hash_)).astype(np.int64) & (BUCKET - 1) for hash_ in range(HASHES)]
