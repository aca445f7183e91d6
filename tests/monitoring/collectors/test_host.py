"""This machine's own numbers, as they really are."""

from __future__ import annotations

import math
import time

import psutil
import pytest

from monitoring.catalogue import BY_NAME
from monitoring.collectors import host
from monitoring.collectors.base import Collected
from monitoring.models import Source

pytestmark = pytest.mark.usefixtures("empty_redis")


def collect(after_s: float = 0.0) -> Collected:
    """The machine counts its time in hundredths, so a rate needs some of it to pass."""
    time.sleep(after_s)
    return host.collect(Source(pk=1), time.time_ns() // 1_000_000)


def second() -> Collected:
    """A run after another one. The clock of an idle core may stand for longer than we like to wait at once."""
    deadline = time.monotonic() + 10
    while math.isnan(plain(found := collect(after_s=0.2))["cpu"]) and time.monotonic() < deadline:
        pass
    return found


def plain(collected: Collected) -> dict[str, float]:
    return {name.metric: value for name, value in collected.values.items() if not name.labels}


def test_the_second_run_knows_everything() -> None:
    collect()
    values = plain(second())
    wanted = {
        *("cpu", "memory", "disk", "net_rx", "net_tx", "load1", "load5", "load15", "disk_read", "disk_write"),
        *("connections", "processes", "uptime", "cpu_cores", "memory_total", "memory_used", "disk_total", "disk_used"),
    }
    assert wanted <= values.keys()
    assert not [name for name in wanted if math.isnan(values[name])]
    assert 0 <= values["cpu"] <= 100
    assert values["cpu_cores"] == psutil.cpu_count()
    assert values["memory_total"] == round(psutil.virtual_memory().total / 1024**2)
    assert values["uptime"] == pytest.approx(time.time() - psutil.boot_time(), abs=3)
    assert values["disk"] == pytest.approx(psutil.disk_usage("/").percent, abs=0.2)


def test_the_first_run_leaves_gaps_where_it_needs_two() -> None:
    values = plain(collect())
    assert {name for name, value in values.items() if math.isnan(value)} == {
        *("cpu", "disk_read", "disk_write", "net_rx", "net_tx"),
    }


def test_each_core_and_each_disk_has_its_series() -> None:
    collect()
    names = {(name.metric, name.labels) for name in collect(after_s=0.1).values}
    assert {("cpu_core", f'{{"core":"{n}"}}') for n in range(psutil.cpu_count() or 0)} <= names
    assert ("disk_used_share", '{"mount":"/"}') in names


def test_a_busy_core_is_seen() -> None:
    collect()
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        pass
    cores = [value for name, value in collect().values.items() if name.metric == "cpu_core"]
    assert max(cores, default=0.0, key=lambda share: -1.0 if math.isnan(share) else share) > 50  # one may be a gap


def test_it_measures_only_what_the_catalogue_knows() -> None:
    assert {name.metric for name in collect().values} <= BY_NAME.keys()


def test_a_run_costs_two_milliseconds_at_most() -> None:
    collect()
    runs = 30
    began = time.thread_time()
    for _ in range(runs):
        collect()
    assert (time.thread_time() - began) / runs < 0.002 * 3  # three times, for a machine that is busy with other tests
