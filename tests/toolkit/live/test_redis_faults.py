"""The hub while Redis restarts, hangs, loses its subscribers and is emptied under it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from portal.embedded import redis as embedded_redis
from portal.toolkit import redis as toolkit_redis
from portal.toolkit.live import feed
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.touch import touch
from tests.toolkit.live.conftest import End, Gauge, until

pytestmark = pytest.mark.slow


class PrivateRedis:
    """A Redis of this test alone, which it may kill, stop and start."""

    def __init__(self, folder: Path) -> None:
        self.url = embedded_redis.url_of(folder)
        self._command = [embedded_redis.binary(), str(embedded_redis.write_config(folder, folder))]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        assert embedded_redis.wait_until_ready(self.url, 10)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)


@pytest.fixture
def private_redis(settings: Settings) -> Iterator[PrivateRedis]:
    folder = Path(tempfile.mkdtemp(prefix="om-redis-"))
    server = PrivateRedis(folder)
    server.start()
    settings.REDIS_URL = server.url
    toolkit_redis.client.cache_clear()
    yield server
    server.kill()
    toolkit_redis.client().close()
    toolkit_redis.client.cache_clear()
    shutil.rmtree(folder)


@pytest.fixture
async def end(private_redis: PrivateRedis, gauge: Gauge) -> AsyncIterator[End]:
    """A socket that watches gauge:1, and has its first state."""
    hub = Hub.of_this_loop()
    await until(lambda: hub.is_hearing)
    end = End(hub).watch("gauge:1").join()
    await end.gets("0")
    yield end
    end.leave()
    await hub.stop()


def says(end: End, health: str) -> Callable[[], bool]:
    """Whether the newest beat says so."""
    return lambda: f'data-health="{health}"' in [frame for _, frame in end.frames if "live-beat" in frame][-1]


async def test_a_restarted_redis_is_found_again_and_what_was_missed_is_shown(
    private_redis: PrivateRedis, end: End, gauge: Gauge
) -> None:
    private_redis.kill()
    gauge.values["1"] = "while away"
    touch({"gauge": ["1"]})  # lost, and no error
    private_redis.start()
    await end.gets("while away", within_s=10)
    await until(lambda: end.hub.is_hearing)
    gauge.values["1"] = "and on"
    toolkit_redis.client().publish("live:touched", '{"gauge":["1"]}')
    await end.gets("and on", within_s=2)


async def test_without_redis_pages_are_told_and_still_move(
    private_redis: PrivateRedis, end: End, gauge: Gauge, monkeypatch: pytest.MonkeyPatch
) -> None:
    private_redis.kill()
    await until(says(end, "degraded"), within_s=5)
    gauge.values["1"] = "from PostgreSQL"
    await end.gets("from PostgreSQL", within_s=7)
    private_redis.start()
    await until(says(end, "ok"), within_s=10)


async def test_a_subscription_that_was_cut_is_followed_by_whole_state(
    private_redis: PrivateRedis, end: End, gauge: Gauge
) -> None:
    gauge.values["1"] = "untold"
    toolkit_redis.client().client_kill_filter(_type="pubsub")
    await end.gets("untold", within_s=5)


async def test_a_missed_beat_is_followed_by_whole_state(private_redis: PrivateRedis, end: End, gauge: Gauge) -> None:
    gauge.values["1"] = "untold"
    channels = toolkit_redis.client().pubsub_channels("live:beat:*")
    assert isinstance(channels, list)
    toolkit_redis.client().publish(channels[0], "1000")  # beats 3 to 999 were missed
    await end.gets("untold", within_s=2)


async def test_a_redis_that_hangs_is_noticed_and_found_again_within_10_seconds(
    private_redis: PrivateRedis, end: End, gauge: Gauge
) -> None:
    private_redis.signal(signal.SIGSTOP)  # connections stay open, nothing answers
    await until(says(end, "degraded"), within_s=feed.DEAF_AFTER_S + feed.TIMEOUT_S + 2)
    private_redis.signal(signal.SIGCONT)
    gauge.values["1"] = "again"
    await end.gets("again", within_s=10)
    await until(says(end, "ok"), within_s=10)


async def test_emptying_redis_changes_nothing(private_redis: PrivateRedis, end: End, gauge: Gauge) -> None:
    toolkit_redis.client().flushall()
    gauge.values["1"] = "as ever"
    touch({"gauge": ["1"]})
    await end.gets("as ever", within_s=2)
    assert says(end, "ok")()
