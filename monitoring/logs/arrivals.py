"""That lines arrived: told by `record`, asked by the pages that show the newest ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import cast

import structlog
from django.db import connection

from portal.toolkit.live.touch import touch
from portal.toolkit.redis import AWAY, breaker, client

log = structlog.get_logger(__name__)

ARRIVED = "hot:logs"
"""A hash: server id → a word that is another one after each push that had lines of it; ALL: of any server."""
ALL = "all"
EXPIRY_S = 86_400


def tell(server_ids: Iterable[int], word: str) -> None:
    """After the commit of lines of these servers; `word` has not been said before. Never raises for Redis."""
    try:
        with breaker:
            pipeline = client().pipeline(transaction=False)
            pipeline.hset(ARRIVED, mapping={ALL: word, **{str(server_id): word for server_id in server_ids}})
            pipeline.expire(ARRIVED, EXPIRY_S)
            touch({"logs": None}, pipeline)
            pipeline.execute()
    except AWAY as error:
        log.warning("log_arrival_not_told", error=str(error))


def arrived(servers: Iterable[int] | None) -> str:
    """An opaque word, another one after a line of these servers (None: of any) was committed. One look-up.

    Without Redis PostgreSQL is asked, and the word changes with the lines of any server.
    """
    fields = [ALL] if servers is None else [str(server_id) for server_id in sorted(servers)]
    if not fields:
        return ""
    try:
        with breaker:
            words = cast(Sequence[bytes | None], client().hmget(ARRIVED, fields))
    except AWAY:
        return _committed()
    return hashlib.blake2b(b" ".join(word or b"-" for word in words), digest_size=8).hexdigest()


def _committed() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce((SELECT max(id) FROM monitoring_logblock_pushed), 0)::text || '-'
                || coalesce((SELECT merged_xid::text FROM monitoring_logmerge), '')
            """
        )
        ((word,),) = cursor.fetchall()
    return str(word)
