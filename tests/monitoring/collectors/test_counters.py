"""Counters become rates; what is not known is a gap and never a wrong value."""

from __future__ import annotations

import math
from typing import Any

import pytest

from monitoring.collectors.counters import Counters
from monitoring.models import Source
from portal.toolkit.redis import client

pytestmark = pytest.mark.usefixtures("empty_redis")


def remember(at_s: float, **values: float) -> None:
    counters = Counters.recall(Source(pk=7), int(at_s * 1000))
    for key, value in values.items():
        counters.increase(key, value)
    counters.keep()


def at(at_s: float) -> Counters:
    return Counters.recall(Source(pk=7), int(at_s * 1000))


def test_a_rate_is_the_increase_per_second() -> None:
    remember(100, requests=50)
    assert at(110).rate("requests", 80) == 3.0


def test_the_first_run_knows_no_rate() -> None:
    assert math.isnan(at(100).rate("requests", 50))


def test_a_new_counter_among_known_ones_knows_no_rate() -> None:
    remember(100, requests=50)
    assert math.isnan(at(110).rate("errors", 5))


def test_a_lower_value_restarted_from_zero() -> None:
    remember(100, requests=1000)
    assert at(110).rate("requests", 20) == 2.0


def test_lost_memory_is_one_gap_and_then_the_right_rate() -> None:
    remember(100, requests=1000)
    client().flushdb()
    after = at(110)
    assert math.isnan(after.rate("requests", 1100))
    after.keep()
    assert at(120).rate("requests", 1150) == 5.0


def test_memory_older_than_an_hour_is_none() -> None:
    remember(100, requests=0)
    assert at(3700).rate("requests", 3600) == 1.0
    assert math.isnan(at(3701).rate("requests", 3600))


def test_memory_expires_by_itself() -> None:
    remember(100, requests=0)
    assert 3590 <= client().ttl("counters:7:") <= 3600


@pytest.mark.parametrize("at_s", [100, 99, 50])
def test_a_clock_that_was_set_back_is_a_gap(at_s: float) -> None:
    remember(100, requests=0)
    assert math.isnan(at(at_s).rate("requests", 10))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_gap_and_is_not_remembered(value: float) -> None:
    remember(100, requests=5)
    odd = at(110)
    assert math.isnan(odd.rate("requests", value))
    odd.keep()
    assert math.isnan(at(120).rate("requests", 20))


def test_sources_do_not_mix() -> None:
    remember(100, requests=5)
    assert math.isnan(Counters.recall(Source(pk=8), 110_000).rate("requests", 6))


def test_without_redis_there_is_a_gap_and_no_error(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise ConnectionError("gone")

    remember(100, requests=5)
    monkeypatch.setattr("portal.toolkit.redis.client", away)
    counters = at(110)
    assert math.isnan(counters.rate("requests", 6))
    counters.keep()


def test_busy_and_total_go_together() -> None:
    first = at(100)
    first.busy_and_total("cpu", 10, 100)
    first.keep()
    assert at(110).busy_and_total("cpu", 15, 110) == (5, 10)
    assert at(110).busy_and_total("cpu", 1, 4) == (1, 4)  # a reboot


def test_idle_time_that_the_kernel_takes_back_is_a_gap() -> None:
    first = at(100)
    first.busy_and_total("cpu", 10, 100)
    first.keep()
    assert all(math.isnan(number) for number in at(110).busy_and_total("cpu", 11, 99))
