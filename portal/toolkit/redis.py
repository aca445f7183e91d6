"""The portal's connections to Redis. Redis is speed, never a promise: every caller can do without it."""

from __future__ import annotations

from functools import lru_cache

import redis
import redis.asyncio
from django.conf import settings
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from portal.toolkit.breaker import Breaker

AWAY = (redis.RedisError, OSError)
"""What a call raises when Redis is away, read-only, out of memory or broken."""

breaker = Breaker("redis", failures=5, rest_s=2.0)


@lru_cache(maxsize=1)
def client() -> redis.Redis:
    """The process's pooled client; replies are bytes.

    A connection that was dropped or refused is tried again, within a quarter of a second: that is not an outage yet.
    One that hangs is not: it has had its time.
    """
    retry: Retry = Retry(ExponentialBackoff(cap=0.15, base=0.01), settings.REDIS_RETRIES, (redis.ConnectionError,))
    return redis.Redis.from_url(
        settings.REDIS_URL, retry=retry, max_connections=settings.REDIS_POOL, **settings.REDIS_OPTIONS
    )


def async_client() -> redis.asyncio.Redis:
    """A new client for the running event loop; whoever asked closes it."""
    return redis.asyncio.Redis.from_url(settings.REDIS_URL, **settings.REDIS_OPTIONS)
