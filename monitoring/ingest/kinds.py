"""Which metrics of remote_write only grow: by what its senders tell of them, else by the name's suffix."""

from __future__ import annotations

from collections.abc import Mapping

from monitoring.catalogue import BY_NAME
from monitoring.collectors import mapping
from monitoring.models import Metric

SUFFIXES = ("_total", "_count", "_sum", "_bucket")
KEPT = 100_000

_told: dict[str, bool] = {}


def only_grows(metric: str) -> bool:
    told = _told.get(metric)
    return metric.endswith(SUFFIXES) if told is None else told


def learn(told: Mapping[str, bool]) -> None:
    """Remember of these metrics whether they only grow, where the suffix says something else.

    What feeds the catalogue is known without being told: one sender's word would stop what others send.

    A process that was not told yet may have believed the suffix, so what it wrote is put right each time, which senders
    do about once a minute: two queries, none where the suffixes are right.
    """
    surprising = {
        name: grows
        for name, grows in told.items()
        if (name.endswith(SUFFIXES) != grows or name in _told) and name.isprintable() and name not in mapping.NAMES
    }
    if not surprising:
        return
    for grows in (True, False):
        names = [name for name, said in surprising.items() if said is grows and name not in BY_NAME]
        if names:
            Metric.objects.filter(name__in=names, is_counter=not grows).update(is_counter=grows)
    if len(_told) + len(surprising) > KEPT:
        _told.clear()
    _told.update(surprising)


def forget() -> None:
    _told.clear()
