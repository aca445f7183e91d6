"""How far history has gone cold, and the lock of those who move it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple

from monitoring.models import Horizon
from portal.toolkit import locks
from portal.toolkit.instants import at_ms, from_ms

_LOCK = 0x6F6D_0003
_ROW = 1

GRACE_MS = 15 * 60_000
"""How long an hour is over before it is sealed: what is sent with a little delay still finds its warm partition."""


class Reach(NamedTuple):
    """Epoch ms: hours before `sealed_ms` are in chunks, days before `compacted_ms` in day chunks and roll-ups."""

    sealed_ms: int = 0
    compacted_ms: int = 0


def reach() -> Reach:
    """One query."""
    row = Horizon.objects.filter(pk=_ROW).values_list("sealed_until", "compacted_until").first()
    return Reach(at_ms(row[0]) or 0, at_ms(row[1]) or 0) if row else Reach()


def interrupted() -> int | None:
    """The hour (epoch ms) of which chunks may be left by a sealer that was killed."""
    return at_ms(Horizon.objects.filter(pk=_ROW).values_list("sealing", flat=True).first())


def begin(hour_ms: int | None) -> None:
    """From now on, chunks of this hour may be unfinished; None: there are none."""
    sealing = None if hour_ms is None else from_ms(hour_ms)
    Horizon.objects.update_or_create(pk=_ROW, defaults={"sealing": sealing})


def sealed(until_ms: int) -> None:
    """Hours before `until_ms` are sealed, in the caller's transaction. The horizon never moves back."""
    assert reach().sealed_ms <= until_ms
    Horizon.objects.update_or_create(pk=_ROW, defaults={"sealed_until": from_ms(until_ms), "sealing": None})


def compacted(until_ms: int) -> None:
    """Days before `until_ms` are compacted, in the caller's transaction."""
    Horizon.objects.filter(pk=_ROW).update(compacted_until=from_ms(until_ms))


def alone() -> AbstractContextManager[bool]:
    """True for one sealer, compactor or merger at a time."""
    return locks.alone(_LOCK)
