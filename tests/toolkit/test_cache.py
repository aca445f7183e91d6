"""The smart cache against a real Redis: made once for many, stale while a new one is made, never lost to a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis as redis_py
from django.db import OperationalError

from portal.toolkit import redis
from portal.toolkit.breaker import CircuitOpenError
from portal.toolkit.cache import Kind, SmartCache, counts, shared, smart
from portal.toolkit.cache.counts import statistics
from portal.toolkit.redis import client

KIND = Kind("test", fresh_s=15, stale_s=30, kept_s=600)
OWN = Kind("test_own", fresh_s=15, stale_s=30, kept_s=600, shared=False)


class Clock:
    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class Maker:
    """Makes b"1", b"2" …; counts; as slow and as broken as wanted."""

    def __init__(self) -> None:
        self.made = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error: Exception | None = None

    def __call__(self) -> bytes:
        self.made += 1
        mine = b"%d" % self.made
        assert self.may_go_on.wait(10)
        if self.error:
            raise self.error
        return mine


@pytest.fixture(autouse=True)
def empty_redis() -> Iterator[None]:
    client().flushdb()
    yield
    client().flushdb()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> SmartCache:
    return SmartCache(clock=clock)


@pytest.fixture
def make() -> Maker:
    return Maker()


@pytest.fixture
def redis_away(monkeypatch: pytest.MonkeyPatch) -> None:
    away = redis_py.Redis(host="127.0.0.1", port=1, socket_connect_timeout=1)
    for module in (shared, counts):
        monkeypatch.setattr(module, "client", lambda: away)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def answers(cache: SmartCache, make: Maker, *, kind: Kind = KIND, refresh: bool = False) -> tuple[bytes, str]:
    given = cache.get(kind, "key", make, refresh=refresh)
    return given.entry.data, given.how


@pytest.mark.parametrize("kind", [KIND, OWN])
def test_what_is_fresh_is_not_made_again(cache: SmartCache, make: Maker, clock: Clock, kind: Kind) -> None:
    assert answers(cache, make, kind=kind) == (b"1", "made")
    clock.now += 14.9
    assert answers(cache, make, kind=kind) == (b"1", "hit")


def test_every_key_has_its_own_answer(cache: SmartCache, make: Maker) -> None:
    assert cache.get(KIND, "1,4", make).entry.data == b"1"
    assert cache.get(KIND, "1", make).entry.data == b"2"
    assert cache.get(KIND, "1,4", make).entry.data == b"1"


def test_what_is_stale_is_given_at_once_and_made_anew_behind_it(cache: SmartCache, make: Maker, clock: Clock) -> None:
    answers(cache, make)
    clock.now += 20
    make.may_go_on.clear()
    assert answers(cache, make) == (b"1", "stale")
    assert answers(cache, make) == (b"1", "stale")
    make.may_go_on.set()
    until(lambda: answers(cache, make) == (b"2", "hit"))
    assert make.made == 2


def test_what_is_too_old_is_waited_for(cache: SmartCache, make: Maker, clock: Clock) -> None:
    answers(cache, make)
    clock.now += 30.1
    assert answers(cache, make) == (b"2", "made")


@pytest.mark.parametrize("kind", [KIND, OWN])
def test_fifty_who_ask_at_once_are_given_what_one_made(cache: SmartCache, make: Maker, kind: Kind) -> None:
    make.may_go_on.clear()
    with ThreadPoolExecutor(50) as people:
        asked = [people.submit(answers, cache, make, kind=kind) for _ in range(50)]
        until(lambda: make.made == 1 and len(cache._under_way) == 1)
        time.sleep(0.1)  # the others arrive; a late one would find it in memory
        make.may_go_on.set()
        given = [one.result() for one in asked]
    assert make.made == 1
    assert {data for data, _how in given} == {b"1"}
    assert [how for _data, how in given].count("made") == 1


def test_of_two_processes_one_makes_and_the_other_is_given_it(make: Maker, clock: Clock) -> None:
    one, other = SmartCache(clock=clock), SmartCache(clock=clock)
    make.may_go_on.clear()
    with ThreadPoolExecutor(2) as people:
        first = people.submit(answers, one, make)
        until(lambda: make.made == 1)
        second = people.submit(answers, other, make)
        until(lambda: len(other._under_way) == 1)
        make.may_go_on.set()
        assert {first.result()[0], second.result()[0]} == {b"1"}
    assert make.made == 1


def test_a_process_finds_what_another_made(make: Maker, clock: Clock) -> None:
    assert answers(SmartCache(clock=clock), make) == (b"1", "made")
    assert answers(SmartCache(clock=clock), make) == (b"1", "hit")


def test_what_stays_in_its_process_is_not_in_redis(cache: SmartCache, make: Maker) -> None:
    answers(cache, make, kind=OWN)
    assert client().keys("cache:*") == []


def test_who_died_while_making_is_succeeded(cache: SmartCache, make: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LOCK_MS", 100)
    dead = shared.Shared()
    full = f"test:{smart.blake2b(b'key', digest_size=16).hexdigest()}"
    assert dead.ask(full, time.time()).mine
    assert answers(cache, make)[0] == b"1"


def test_a_new_one_can_be_asked_for_once_a_second(cache: SmartCache, make: Maker, clock: Clock) -> None:
    answers(cache, make)
    clock.now += 0.9
    assert answers(cache, make, refresh=True) == (b"1", "hit")
    clock.now += 0.2
    assert answers(cache, make, refresh=True) == (b"2", "made")


def test_when_none_can_be_made_the_last_good_one_stands_in(cache: SmartCache, make: Maker, clock: Clock) -> None:
    answers(cache, make)
    make.error = OperationalError("away")
    clock.now += 599
    assert answers(cache, make) == (b"1", "kept")
    clock.now += 2
    with pytest.raises(OperationalError):
        answers(cache, make)


def test_a_mistake_is_seen_and_not_covered_by_an_old_answer(cache: SmartCache, make: Maker, clock: Clock) -> None:
    answers(cache, make)
    make.error = KeyError("a mistake")
    clock.now += 100
    with pytest.raises(KeyError):
        answers(cache, make)


def test_after_five_failures_it_is_not_tried_for_a_while(cache: SmartCache, make: Maker, clock: Clock) -> None:
    make.error = OperationalError("away")
    for _ in range(5):
        with pytest.raises(OperationalError):
            answers(cache, make)
    with pytest.raises(CircuitOpenError):
        answers(cache, make)
    assert make.made == 5
    (found,) = [breaker.statistics() for breaker in cache.breakers()]
    assert (found.state, found.failures, found.times_opened) == ("open", 5, 1)
    assert found.last_error == "OperationalError: away"


def test_a_refresh_behind_is_tried_again(
    cache: SmartCache, make: Maker, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smart, "RETRIES_S", (0.01, 0.02, 0.04))
    answers(cache, make)
    make.error = OperationalError("away")
    clock.now += 20
    answers(cache, make)
    until(lambda: make.made >= 3)
    make.error = None
    until(lambda: answers(cache, make)[1] == "hit")
    assert make.made <= 5


@pytest.mark.usefixtures("redis_away")
def test_without_redis_it_is_made_here_and_kept_here(cache: SmartCache, make: Maker, clock: Clock) -> None:
    assert answers(cache, make) == (b"1", "made")
    assert answers(cache, make) == (b"1", "hit")
    clock.now += 40
    assert answers(cache, make) == (b"2", "made")


def test_after_a_flush_of_redis_it_goes_on(cache: SmartCache, make: Maker, clock: Clock) -> None:
    answers(cache, make)
    client().flushdb()
    clock.now += 31
    assert answers(cache, make) == (b"2", "made")


def test_what_is_over_goes(cache: SmartCache, make: Maker, clock: Clock) -> None:
    answers(cache, make)
    (name,) = client().keys("cache:entry:*")
    assert 0 < client().pttl(name) <= 600_000
    cache._memory.sweep(clock.now + 599)
    assert cache._memory.size()[0] == 1
    cache._memory.sweep(clock.now + 600)
    assert cache._memory.size() == (0, 0)


def test_memory_is_bounded_and_the_least_used_goes_first(clock: Clock) -> None:
    cache = SmartCache(clock=clock, memory_bytes=250)
    for key in ("a", "b", "a", "c"):
        cache.get(OWN, key, lambda: b"x" * 100)
    assert cache._memory.size() == (2, 200)
    assert cache.get(OWN, "a", lambda: b"new").how == "hit"
    assert cache.get(OWN, "b", lambda: b"new").how == "made"


def test_all_processes_are_counted_together(make: Maker, clock: Clock) -> None:
    one, other = SmartCache(clock=clock), SmartCache(clock=clock)
    for cache in (one, one, one, other):
        answers(cache, make)
        cache.flush()
    found = statistics()
    assert (found.misses, found.hits, found.cached_share) == (1, 3, 0.75)
    assert (found.entries, found.shared_entries, found.shared_bytes) == (1, 1, 9)
    assert found.counts == {"test": {"made": 1, "hit": 3}}


def test_what_was_counted_without_redis_is_told_later(
    cache: SmartCache, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as away:
        away.setattr(counts, "client", lambda: redis_py.Redis(host="127.0.0.1", port=1))
        answers(cache, make, kind=OWN)
        cache.flush()
    monkeypatch.setattr(redis.breaker, "_failed", 0)
    cache.flush()
    assert statistics().misses == 1
