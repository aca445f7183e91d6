"""What is kept, for how long, and how it was come by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

How = Literal["made", "joined", "hit", "stale", "kept"]
"""Made for this asker, or for one who asked at the same time; found fresh; found stale while somebody makes a new one;
or the last good one, because no new one could be made."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A sort of answers. Up to `fresh_s` one is given as it is; up to `stale_s` too, while a new one is made behind it;
    after that who asks waits for a new one, and up to `kept_s` the old one stands in when none can be made.

    One that is not `shared` stays in its process: it is as quickly made as fetched from Redis.
    """

    name: str
    fresh_s: float = 300.0
    stale_s: float = 1800.0
    kept_s: float = 1800.0
    shared: bool = True


@dataclass(slots=True)
class Entry:
    """`data` as it was at `made_at` (epoch seconds). `derived` is for what is worked out from it once for many: it must
    follow from `data` and the key alone."""

    data: bytes
    made_at: float
    derived: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.data) + sum(len(value) for value in self.derived.values())


class Given(NamedTuple):
    entry: Entry
    how: How

    @property
    def is_cached(self) -> bool:
        return self.how not in {"made", "joined"}
