"""The circuit breaker."""

from __future__ import annotations

import pytest

from portal.toolkit.breaker import Breaker, CircuitOpenError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("redis", failures=3, rest_s=2.0, clock=clock)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ConnectionError), breaker:
            raise ConnectionError


def test_it_opens_after_failures_in_a_row_and_then_does_not_even_try(breaker: Breaker) -> None:
    fail(breaker, 3)
    with pytest.raises(CircuitOpenError, match="redis is resting after 3 failures"), breaker:
        pytest.fail("was tried")


def test_a_success_in_between_starts_the_count_again(breaker: Breaker) -> None:
    fail(breaker, 2)
    with breaker:
        pass
    fail(breaker, 2)
    assert not breaker.is_open


def test_after_its_rest_one_caller_tries_and_a_success_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 2.1
    with breaker, pytest.raises(CircuitOpenError), breaker:
        pytest.fail("a second one was let through")
    with breaker:
        pass
    assert not breaker.is_open


def test_a_failed_try_rests_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 2.1
    fail(breaker, 1)
    with pytest.raises(CircuitOpenError), breaker:
        pytest.fail("was tried")


def test_it_tells_how_it_did(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    found = breaker.statistics()
    assert (found.state, found.failures, found.failures_in_all, found.times_opened) == ("open", 3, 3, 1)
    assert found.last_error.startswith("ConnectionError")
    assert found.opened_at is not None
    clock.now = 2.1
    assert breaker.statistics().state == "trying"
    with breaker:
        pass
    found = breaker.statistics()
    assert (found.state, found.failures, found.failures_in_all, found.times_opened) == ("closed", 0, 3, 1)
