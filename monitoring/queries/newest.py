"""The newest value of one metric on many servers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from monitoring import hot
from portal.toolkit.instants import from_ms


class Reading(NamedTuple):
    """What a series said last."""

    server_id: int
    labels: str
    at: datetime
    value: float


def newest_of(metric: str, server_ids: Sequence[int]) -> list[Reading]:
    """The newest reading of each series of `metric` of the servers, in no order. One Redis round trip."""
    return [
        Reading(server_id, name.labels, from_ms(at_ms), value)
        for server_id, values in hot.newest(server_ids).items()
        for name, (at_ms, value) in values.items()
        if name.metric == metric
    ]
