"""Reading real Redis servers, ones that refuse, and strangers that answer in their place."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ValidationError

from monitoring.collectors import redis as collector
from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.counters import Counters
from monitoring.history.frame import SeriesName
from monitoring.models import Source
from portal.toolkit.redis import client
from portal.toolkit.secrets import seal
from tests.monitoring.collectors.conftest import relayed
from tests.toolkit.server import Answer, raw, serving

pytestmark = pytest.mark.usefixtures("empty_redis")


def collect(url: str, secret: str = "", at_s: float = 1000, timeout_s: int = 2) -> Collected:
    source = Source(pk=1, url=url, sealed_secret=seal(secret), timeout_s=timeout_s)
    return collector.collect(source, int(at_s * 1000))


def error_of(url: str, secret: str = "") -> str:
    with pytest.raises(CollectError) as caught:
        collect(url, secret)
    return str(caught.value)


def error_of_stranger(answer: Answer) -> str:
    with serving(answer) as server:
        return error_of(f"redis://127.0.0.1:{server.port}")


def informing(info: bytes) -> Answer:
    """A PONG, then, once it is asked for, `info`: closed behind an unread question, a socket would be reset."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"+PONG\r\n")
        connection.recv(65_536)
        connection.sendall(info)

    return answer


@pytest.fixture
def allowed(settings: Any) -> None:
    settings.SCRAPE_ALLOW = ["127.0.0.0/8", "localhost"]


def test_the_portals_own_redis_is_read_without_being_told_where_it_is() -> None:
    client().set("a", "1")
    collect("own:", at_s=1000)
    client().get("a")
    client().get("missing")
    values = collect("own:", at_s=1010).values
    assert 0 < values[SeriesName("cache_hit")] < 100
    assert values[SeriesName("cache_keys")] == client().dbsize()
    assert values[SeriesName("cache_ops")] > 0
    assert values[SeriesName("cache_memory")] > 0.5
    assert values[SeriesName("cache_clients")] >= 1
    assert 0 < values[SeriesName("cache_latency")] < 1000
    assert values[SeriesName("evictions")] == 0


def test_rates_of_a_first_run_are_gaps() -> None:
    values = collect("own:").values
    assert math.isnan(values[SeriesName("cache_ops")])
    assert math.isnan(values[SeriesName("cache_hit")])


@pytest.fixture
def with_user(allowed: None) -> Iterator[str]:
    """The URL of a user who may do nothing but what the collector does; its password is “s3cret”."""
    client().execute_command("ACL", "SETUSER", "watcher", "on", ">s3cret", "+ping", "+info")
    with relayed(urlsplit(django_settings.REDIS_URL).path) as port:
        yield f"redis://watcher@127.0.0.1:{port}"
    client().execute_command("ACL", "DELUSER", "watcher")


def test_it_signs_in_with_user_and_password(with_user: str) -> None:
    assert SeriesName("cache_clients") in collect(with_user, "s3cret").values


def test_a_wrong_password_is_said_in_redis_own_words_and_without_it(with_user: str) -> None:
    said = error_of(with_user, "guessed")
    assert "refuses AUTH: WRONGPASS" in said
    assert "guessed" not in said


def test_a_server_that_quotes_the_password_does_not_get_it_shown(allowed: None) -> None:
    quoted = b"-ERR unknown command 'AUTH', with args beginning with: 's3cret' \r\n"
    with serving(raw(quoted)) as server:
        said = error_of(server.url.replace("http:", "redis:"), "s3cret")
    assert "refuses AUTH: ERR unknown command" in said
    assert "s3cret" not in said


def test_a_redis_on_the_portals_own_machine_is_refused_unless_it_is_its_own(settings: Any) -> None:
    settings.SCRAPE_ALLOW = []
    with pytest.raises(ValidationError, match="only the setting PORTAL_SCRAPE_ALLOW"):
        collector.check_url("redis://127.0.0.1")
    collector.check_url("own:")


def test_a_password_in_the_url_is_refused() -> None:
    with pytest.raises(ValidationError, match="belongs into its own field"):
        collector.check_url("redis://:s3cret@192.0.2.7")


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (raw(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>"), "does not speak Redis' protocol"),
        (raw(b"*1000000000\r\n"), "does not speak Redis' protocol"),
        (raw(b"$999999999\r\n" + b"x" * 1_100_000), "does not speak|ended its answer in the middle, or never does"),
        (informing(b"$5\r\nhello\r\n"), "its INFO is not that of a Redis"),
        (informing(b"$500\r\nredis_version:7"), "ended its answer in the middle, or never does"),
        (raw(b"-NOAUTH Authentication required.\r\n"), "refuses PING: NOAUTH Authentication required."),
        (raw(b""), "ended its answer in the middle"),
    ],
)
def test_a_stranger_at_the_port_is_an_error_in_words(answer: Answer, words: str) -> None:
    said = error_of_stranger(answer)
    assert any(part in said for part in words.split("|")), said


@pytest.mark.usefixtures("allowed")
def test_a_drip_of_bytes_ends_at_the_deadline(settings: Any) -> None:
    def drip(connection: Any) -> None:
        import time

        for _ in range(40):
            connection.sendall(b"+")
            time.sleep(0.05)

    with serving(drip) as server, pytest.raises(CollectError, match="no complete answer within 1 s"):
        collect(f"redis://127.0.0.1:{server.port}", timeout_s=1)


def values_of(**info: str) -> dict[SeriesName, float]:
    return collector.values_of(info, Counters(1, "", 1000))


def test_memory_has_a_share_only_where_there_is_a_limit() -> None:
    share = SeriesName("cache_memory_share")
    assert values_of(used_memory="50", maxmemory="200")[share] == 25
    assert share not in values_of(used_memory="50", maxmemory="0")


def test_a_primary_shows_the_lag_of_each_replica_and_the_worst() -> None:
    told = "ip=10.0.0.%d,port=6379,state=online,offset=1,lag=%d"
    values = values_of(role="master", slave0=told % (1, 0), slave1=told % (2, 7))
    lags = {name.labels: value for name, value in values.items() if name.metric == "replication_lag"}
    assert lags == {"": 7, '{"replica":"10.0.0.1:6379"}': 0, '{"replica":"10.0.0.2:6379"}': 7}


def test_a_replica_that_lost_its_primary_has_an_unknown_lag() -> None:
    lag = SeriesName("replication_lag")
    assert values_of(role="slave", master_last_io_seconds_ago="3")[lag] == 3
    assert math.isnan(values_of(role="slave", master_last_io_seconds_ago="-1")[lag])
