"""Saying "this changed". What changed is never in the message: whoever shows it reads the current state."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping

import redis
import structlog

from portal.toolkit.redis import AWAY, breaker, client

TOUCHED = "live:touched"
COMMITTED = "@"
"""Beside the topics in a message: epoch ms of the commit that it tells of."""
logger = structlog.get_logger(__name__)


def touch(
    changed: Mapping[str, Iterable[str | int] | None],
    pipeline: redis.client.Pipeline | None = None,
    committed_ms: int | None = None,
) -> None:
    """Say that the keys of each topic changed; None instead of keys means every key that is watched.

    One PUBLISH; with a `pipeline` it is only queued there. Call it after the commit, which was at `committed_ms`, if
    not just now. Never raises when Redis is away: the hubs notice that themselves and look at everything again.
    """
    if not changed:
        return
    said: dict[str, object] = {
        topic: None if keys is None else [str(key) for key in keys] for topic, keys in changed.items()
    }
    said[COMMITTED] = time.time_ns() // 1_000_000 if committed_ms is None else committed_ms
    message = json.dumps(said, separators=(",", ":"))
    if pipeline is not None:
        pipeline.publish(TOUCHED, message)
    else:
        publish(TOUCHED, message)


def publish(channel: str, message: str) -> None:
    """PUBLISH now, or let it be when Redis is away."""
    try:
        with breaker:
            client().publish(channel, message)
    except AWAY as error:
        logger.debug("not published", channel=channel, error=str(error))
