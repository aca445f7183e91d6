"""Merging beside those who record, read and merge too, and ended before its commit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.db import connection, connections
from django.db.utils import OperationalError
from django.utils import timezone

from monitoring.logs import counts
from monitoring.logs.ask import Ask
from monitoring.logs.line import Level, Line
from monitoring.logs.merge import merge_due
from monitoring.logs.record import record
from monitoring.logs.search import search
from monitoring.logs.trim import forget_old_lines
from monitoring.models import Server

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_redis", "committed_logs")]
Make = Callable[..., Line]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that happens to a million lines happens to a thousand."""
    monkeypatch.setattr("monitoring.logs.merge.LINES_A_BLOCK", 10)
    monkeypatch.setattr("monitoring.logs.columns.LINES_A_BLOCK", 10)


def merged() -> int:
    return merge_due(timezone.now() + timedelta(minutes=1))


def texts() -> list[str]:
    """What a reader sees."""
    return [found.text for found in search(Ask(), servers=None, limit=5_000, deadline_s=60).lines]


def counted(now_ns: int) -> int:
    now_ms = now_ns // 1_000_000
    return sum(counts.totals(Ask(), servers=None, start_ms=now_ms - 86_400_000, end_ms=now_ms + 300_000).values())


@contextmanager
def working(*works: Callable[[threading.Event], Any]) -> Iterator[list[Future[Any]]]:
    """Each in a thread, until the block is over; what one raised is raised at the end."""
    over = threading.Event()

    def run(work: Callable[[threading.Event], Any]) -> Any:
        try:
            return work(over)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        futures = [pool.submit(run, work) for work in works]
        try:
            yield futures
        finally:
            over.set()
        for future in futures:
            future.result(60)


def until_over(work: Callable[[], Any]) -> Callable[[threading.Event], None]:
    def go_on(over: threading.Event) -> None:
        while not over.is_set():
            work()

    return go_on


def test_a_reader_sees_and_counts_every_line_once_while_they_come_and_are_merged(line: Make, now_ns: int) -> None:
    told = [line(f"{number}", ago_s=number % 50) for number in range(2000)]
    recorded = [0]
    looks = count()

    def look() -> None:
        before = recorded[0]
        seen, number = texts(), counted(now_ns)
        after = recorded[0] + 20
        next(looks)
        assert len(seen) == len(set(seen))
        assert {f"{number}" for number in range(before)} <= set(seen) <= {f"{number}" for number in range(after)}
        assert before <= number <= after

    with working(until_over(merged), until_over(look)):
        for some in chunks(told, 20):
            record(some, origin="test")
            recorded[0] += 20
    merged()
    assert next(looks) > 5
    assert sorted(map(int, texts())) == list(range(2000))
    assert counted(now_ns) == 2000


def test_two_mergers_do_not_get_into_each_others_way(line: Make, now_ns: int) -> None:
    told = [line(f"{number}", ago_s=number % 50) for number in range(1000)]
    with working(until_over(merged), until_over(merged)):
        for some in chunks(told, 50):
            record(some, origin="test")
            record(some[::2], origin="test")
    merged()
    assert sorted(map(int, texts())) == list(range(1000))
    assert counted(now_ns) == 1000


def test_two_who_push_the_same_at_once_keep_it_once(line: Make, now_ns: int) -> None:
    told = list(chunks([line(f"{number}") for number in range(400)], 20))

    def push(over: threading.Event) -> None:
        for some in told:
            record(some, origin="test")

    with working(push, push):
        pass
    assert sorted(map(int, texts())) == list(range(400))
    assert counted(now_ns) == 400


def test_what_is_recorded_waits_for_no_merger_and_no_retention(line: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a day that the merger makes the tables of just now."""
    add, held, go_on = counts.add, threading.Event(), threading.Event()

    def slow_add(*said: Any) -> None:
        add(*said)
        held.set()
        assert go_on.wait(30)

    monkeypatch.setattr(counts, "add", slow_add)
    record([line("first")], origin="test")
    with working(lambda over: merged()):
        assert held.wait(30)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
        record([line("second"), line("of yesterday", ago_s=100_000)], origin="test")
        assert "first" in texts()
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 0")
        go_on.set()
    assert len(texts()) == 3


def test_a_merger_that_ends_before_its_commit_leaves_what_was(
    line: Make, now_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    record([line(f"{number}", ago_s=number) for number in range(30)], origin="test")

    def pull_the_plug(*said: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as patched:
        patched.setattr(counts, "add", pull_the_plug)
        with pytest.raises(OperationalError):
            merged()
    connection.close()
    assert (len(texts()), counted(now_ns)) == (30, 30)
    assert merged() == 30
    assert (len(texts()), counted(now_ns)) == (30, 30)


def test_lines_leave_while_others_come(line: Make, server: Server, now_ns: int) -> None:
    other = Server.objects.create(name="other", group=server.group)
    both = [line(f"{number}", ago_s=number, server_id=pk) for number in range(500) for pk in (server.pk, other.pk)]
    for some in chunks(both, 100):
        record(some, origin="test")
    merged()
    other.delete()
    with working(until_over(merged), until_over(lambda: forget_old_lines(timezone.now()))):
        for some in chunks([line(f"{number}", ago_s=number / 3, level=Level.ERROR) for number in range(500, 900)], 40):
            record(some, origin="test")
    merged()
    forget_old_lines(timezone.now())
    assert sorted(map(int, texts())) == list(range(900))
    assert counted(now_ns) == 900


def chunks(lines: list[Line], size: int) -> Iterator[list[Line]]:
    for start in range(0, len(lines), size):
        yield lines[start : start + size]
