"""The portal's page about itself."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from django.utils import timezone

from portal.toolkit import redis
from portal.toolkit.live.clients import KEY
from portal.toolkit.live.timing import BOUNDS_S
from tests.cast import Cast, make_cast, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(db: None) -> Cast:
    redis.client().flushdb()
    return make_cast()


def told(process: str, *clients: dict[str, Any], **facts: Any) -> None:
    """As a web process tells it."""
    counts = [0] * (len(BOUNDS_S) + 1)
    counts[4] = 4
    said = {
        "at": timezone.now().timestamp(),
        "process": process,
        "host": "here",
        "pid": 7,
        "health": "ok",
        "sockets": len(clients),
        "streams": 0,
        "limit": 12_000,
        "delays": counts,
        "clients": clients,
        **facts,
    }
    redis.client().hset(KEY, process, orjson.dumps(said))


def a_client(person: str, **facts: Any) -> dict[str, Any]:
    return {
        "person": person,
        "transport": "socket",
        "address": "192.0.2.7",
        "since": timezone.now().timestamp(),
        "topics": ["fleet", "server:1"],
        "watched": 42,
        "frames": 3,
        "unsent": 0,
        **facts,
    }


def test_staff_sees_who_watches_in_every_process(cast: Cast) -> None:
    told("web-1", a_client("ann"), a_client("<b>ben</b>", transport="stream", unsent=2))
    told("web-2", a_client("cid"), health="degraded")
    page = sign_in(cast.superuser).get("/system/").content.decode()
    for words in ("ann", "&lt;b&gt;ben", "cid", "web-1 (here 7)", "web-2", "behind", "192.0.2.7", "and 40 more"):
        assert words in page
    assert page.index("<bdi>&lt;b&gt;ben") < page.index("<bdi>ann")  # the most unsent first


def test_a_process_that_says_nothing_any_more_is_left_out(cast: Cast) -> None:
    told("web-1", a_client("ann"), at=timezone.now().timestamp() - 60)
    page = sign_in(cast.superuser).get("/system/").content.decode()
    assert "<bdi>ann" not in page
    assert "Nobody has a page or a stream open" in page


def test_others_are_told_that_it_is_not_theirs(cast: Cast) -> None:
    assert sign_in(cast.owner).get("/system/").status_code == 403


def test_without_redis_the_page_says_so(cast: Cast, settings: Any) -> None:
    browser = sign_in(cast.superuser)
    redis.client.cache_clear()
    settings.REDIS_URL = "redis://127.0.0.1:1"
    try:
        assert "Redis does not answer" in browser.get("/system/").content.decode()
    finally:
        redis.client.cache_clear()
