"""Claims, leases, back-off, and who is disturbed by a target that misbehaves: nobody."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.db.utils import DataError, OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring.collectors import run
from monitoring.collectors.run import Outcome, back_off, claim, collect_due, next_on_grid, settle
from monitoring.history.frame import SeriesName
from monitoring.history.read import names_of, read
from monitoring.models import Collector, Source
from monitoring.tasks import collect_task
from portal.toolkit.sentence import paragraph, say, sentence
from tests.cast import person, sign_in
from tests.toolkit.server import page, serving

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("empty_redis", "loopback_is_allowed"),
]

LOADS = "node_load1 0.5\nnode_load5 0.25\n"
MakeSource = Callable[..., Source]


def wait(runs: Iterable[threading.Thread]) -> None:
    for thread in list(runs):
        thread.join(30)
        assert not thread.is_alive()


def collect_all(now: datetime | None = None) -> None:
    wait(collect_due(now))


def newest(server_id: int, metric: str) -> list[float]:
    now_ms = time.time_ns() // 1_000_000
    tracks = read(server_id, [SeriesName(metric)], now_ms - 60_000, now_ms + 1000)
    return [float(value) for value in tracks.values[0]]


def fresh(source: Source) -> Source:
    return Source.objects.get(pk=source.pk)


# --- One run ----------------------------------------------------------------------------------------------------------
def test_a_run_records_what_the_target_shows(make_source: MakeSource) -> None:
    with serving(page(LOADS)) as server:
        source = make_source(server.url, failures=3, error="was away")
        before = timezone.now()
        collect_all()
    after = fresh(source)
    assert newest(source.server_id, "load1") == [0.5]
    assert (after.error, after.failures, after.samples) == ("", 0, 2)
    assert after.ok_at is not None
    assert before <= after.ok_at <= timezone.now()
    assert after.duration_ms is not None


def test_the_task_returns_at_once_and_the_run_goes_on(make_source: MakeSource) -> None:
    def slow(connection: socket.socket) -> None:
        time.sleep(1.0)
        page(LOADS)(connection)

    with serving(slow) as server:
        source = make_source(server.url)
        began = time.monotonic()
        collect_task()
        assert time.monotonic() - began < 0.5
        wait(run._running)
    assert newest(source.server_id, "load1") == [0.5]


def test_this_machine_is_recorded(make_source: MakeSource) -> None:
    source = make_source(interval_s=5)
    collect_all()
    assert newest(source.server_id, "memory")[0] > 0
    assert SeriesName("disk_used_share", '{"mount":"/"}') in names_of(source.server_id)


def test_a_real_node_exporter_is_recorded(make_source: MakeSource, node_exporter: str) -> None:
    source = make_source(node_exporter)
    collect_all()
    time.sleep(1.0)
    Source.objects.update(due_at=timezone.now())
    collect_all()
    for metric in ("cpu", "memory", "disk", "net_rx", "net_tx"):
        assert newest(source.server_id, metric)[-1] >= 0, metric


def test_a_failure_is_told_in_words_and_keeps_the_last_success(make_source: MakeSource) -> None:
    with serving(page("<html>", "text/html")) as server:
        source = make_source(server.url, ok_at=datetime(2026, 1, 1, tzinfo=UTC))
        collect_all()
    after = fresh(source)
    assert say(after.error).startswith("the answer is a web page (HTML)")
    assert after.error_at is not None
    assert (after.failures, after.ok_at) == (1, datetime(2026, 1, 1, tzinfo=UTC))
    assert newest(source.server_id, "load1") == []


def test_what_could_not_be_used_of_a_good_answer_is_told(make_source: MakeSource) -> None:
    with serving(page("node_load1 0.5\nbroken\nodd +Inf\n")) as server:
        source = make_source(server.url, keep_everything=True)
        collect_all()
    after = fresh(source)
    assert after.failures == 0
    assert say(after.error) == "Line 2 could not be used: “broken”. Not kept: 1 of odd (infinity is not a measurement)."
    assert newest(source.server_id, "load1") == [0.5]


def test_a_collector_that_breaks_is_told_and_does_not_stop_the_next_run(
    make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    source = make_source()
    with monkeypatch.context() as patched:
        patched.setattr("monitoring.collectors.host.collect", broken)
        collect_all()
    assert say(fresh(source).error) == "unexpected: ZeroDivisionError"
    Source.objects.update(due_at=timezone.now())
    collect_all()
    assert fresh(source).failures == 0


def test_what_the_database_does_not_take_is_told(make_source: MakeSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*args: Any, **more: Any) -> None:
        raise DataError("value too long")

    source = make_source()
    monkeypatch.setattr(run, "record", refusing)
    collect_all()
    assert say(fresh(source).error) == "unexpected: DataError"


# --- In whose language ------------------------------------------------------------------------------------------------
def shown_to(reader: Client, source: Source) -> list[str]:
    """The fleet, the server, the way in and the admin's two pages of the source."""
    addresses = [
        "/",
        f"/servers/{source.server_id}/",
        reverse("monitoring:add_waiting", args=["source", source.pk]),
        reverse("admin:monitoring_source_changelist"),
        reverse("admin:monitoring_source_change", args=[source.pk]),
    ]
    return [unescape(reader.get(address).content.decode()) for address in addresses]


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "no connection to 127.0.0.1:1: Connection refused"),
        ("ko", "127.0.0.1:1에 연결할 수 없습니다: Connection refused"),
    ],
)
def test_a_failure_is_read_in_the_language_of_whoever_looks(make_source: MakeSource, language: str, words: str) -> None:
    source = make_source("http://127.0.0.1:1/")
    collect_all()
    reader = sign_in(person("anna", is_staff=True, is_superuser=True, language=language))
    pages = shown_to(reader, source)
    assert [words in html for html in pages] == [True] * 5
    assert not any('{"say"' in html for html in pages)


def test_what_is_wrong_with_a_check_is_read_in_the_language_of_whoever_looks(make_source: MakeSource) -> None:
    source = make_source("http://127.0.0.1:1/")
    Source.objects.update(collector=Collector.HTTP)
    collect_all()
    reader = sign_in(person("anna", is_staff=True, is_superuser=True, language="ko"))
    assert "127.0.0.1:1에 연결할 수 없습니다: Connection refused.<" in shown_to(reader, source)[0]


def test_an_error_of_before_is_shown_as_it_was_written(make_source: MakeSource) -> None:
    source = make_source("http://127.0.0.1:1/", failures=1, error="the answer has the status 503")
    reader = sign_in(person("anna", is_staff=True, is_superuser=True, language="ko"))
    assert all("the answer has the status 503" in html for html in shown_to(reader, source))


def test_an_error_is_kept_whole_however_long_its_texts_are(make_source: MakeSource) -> None:
    source = make_source()
    long = paragraph([sentence("%(said)s.", said='"x"' * 1000)] * 8)
    settle(source, Outcome(False, long, 5), timezone.now())
    kept = fresh(source).error
    assert len(kept) <= run.MAX_ERROR
    assert say(kept).count('"x""x"') >= 8


# --- Who is disturbed -------------------------------------------------------------------------------------------------
def test_a_slow_target_does_not_delay_a_fast_one(make_source: MakeSource) -> None:
    with serving(lambda connection: time.sleep(10)) as stuck, serving(page(LOADS)) as quick:
        slow = [make_source(stuck.url, name=f"slow {n}", timeout_s=3) for n in range(10)]
        fast = make_source(quick.url, name="fast")
        began = time.monotonic()
        runs = collect_due()
        while fresh(fast).ok_at is None and time.monotonic() - began < 5:
            time.sleep(0.02)
        assert time.monotonic() - began < 1.5
        wait(runs)
    assert [say(fresh(source).error) for source in slow] == ["no complete answer within 3 s"] * 10
    assert time.monotonic() - began < 5


def test_a_stuck_run_does_not_keep_a_worker_from_stopping(make_source: MakeSource) -> None:
    with serving(lambda connection: time.sleep(2)) as stuck:
        make_source(stuck.url, timeout_s=1)
        [stuck_run] = collect_due()
        assert stuck_run.daemon
        wait([stuck_run])


def test_no_more_is_claimed_than_there_are_free_threads(make_source: MakeSource) -> None:
    release = threading.Event()
    with serving(lambda connection: release.wait(10)) as server:
        for n in range(run.THREADS + 8):
            make_source(server.url, name=f"server {n}")
        first = collect_due()
        assert len(first) == run.THREADS
        assert collect_due() == []
        assert Source.objects.filter(due_at__lte=timezone.now()).count() == 8
        release.set()
        wait(first)
    rest = collect_due()
    assert len(rest) == 8
    wait(rest)


# --- Claims -----------------------------------------------------------------------------------------------------------
def test_a_claim_is_exclusive_and_lasts_until_the_lease_ends(make_source: MakeSource) -> None:
    make_source(timeout_s=10)
    now = timezone.now()
    [claimed] = claim(now, 10)
    assert claimed.due_at == now + timedelta(seconds=15)
    assert claim(now + timedelta(seconds=14), 10) == []
    assert [source.pk for source in claim(now + timedelta(seconds=16), 10)] == [claimed.pk]


def test_two_claimers_at_once_share_what_is_due(make_source: MakeSource) -> None:
    sources = {make_source(name=f"server {n}").pk for n in range(40)}
    now, claimed, start = timezone.now(), [], threading.Barrier(4)

    def claimer() -> None:
        start.wait()
        for _ in range(20):
            claimed.extend(source.pk for source in claim(now, 3))
        connection.close()

    threads = [threading.Thread(target=claimer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 40
    assert set(claimed) == sources


def test_the_longest_waiting_are_claimed_first(make_source: MakeSource) -> None:
    now = timezone.now()
    late = make_source(name="late", due_at=now - timedelta(seconds=50))
    make_source(name="early", due_at=now - timedelta(seconds=5))
    assert [source.pk for source in claim(now, 1)] == [late.pk]


def test_paused_sources_and_servers_are_left_alone(make_source: MakeSource) -> None:
    make_source(name="source paused", paused=True)
    server = make_source(name="server paused").server
    server.paused = True
    server.save(update_fields=["paused"])
    assert claim(timezone.now(), 10) == []


def test_a_clock_that_was_set_back_does_not_silence_a_source(make_source: MakeSource) -> None:
    source = make_source(due_at=timezone.now() + timedelta(hours=1))
    assert [found.pk for found in claim(timezone.now(), 10)] == [source.pk]


def test_a_run_that_outlived_its_lease_changes_nothing(make_source: MakeSource) -> None:
    make_source()
    now = timezone.now()
    [first] = claim(now, 1)
    [second] = claim(now + timedelta(seconds=60), 1)
    assert not settle(first, Outcome(ok=False, error="late", duration_ms=1), now)
    assert fresh(first).failures == 0
    assert settle(second, Outcome(ok=True, error="", duration_ms=1, samples=3), now)


def test_without_postgresql_a_tick_does_nothing_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any) -> None:
        raise OperationalError("server closed the connection")

    monkeypatch.setattr(run, "claim", away)
    assert collect_due() == []
    assert "collect_claim_failed" in caplog.text


def test_postgresql_going_away_in_a_run_leaves_the_lease(
    make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **more: Any) -> None:
        raise OperationalError("server closed the connection")

    source = make_source(timeout_s=10)
    now = timezone.now()
    with monkeypatch.context() as patched:
        patched.setattr(run, "record", away)
        collect_all(now)
    assert fresh(source).due_at == now + timedelta(seconds=15)
    collect_all(now + timedelta(seconds=16))
    assert fresh(source).ok_at is not None


# --- When next --------------------------------------------------------------------------------------------------------
def test_the_next_run_is_on_the_grid_of_the_interval() -> None:
    source = Source(pk=0, collector=Collector.PROMETHEUS, interval_s=15)
    at = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)
    assert next_on_grid(source, at) == datetime(2026, 1, 1, 12, 0, 15, tzinfo=UTC)
    assert next_on_grid(source, at.replace(second=15)) == datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)


def test_sources_are_spread_over_their_interval() -> None:
    at = datetime(2026, 1, 1, 12, 0, 7, tzinfo=UTC)
    seconds = [
        int(next_on_grid(Source(pk=pk, collector=Collector.PROMETHEUS, interval_s=15), at).timestamp() % 15)
        for pk in range(1, 151)
    ]
    assert all(8 <= seconds.count(second) <= 12 for second in range(15))


def test_this_machine_is_read_on_the_grid_of_the_hot_slots() -> None:
    source = Source(pk=77, collector=Collector.HOST, interval_s=5)
    assert next_on_grid(source, datetime(2026, 1, 1, 12, 0, 7, 5, tzinfo=UTC)).timestamp() % 5 == 0


@pytest.mark.parametrize(
    ("interval_s", "failures", "expected_s"),
    [(15, 0, 15), (15, 1, 30), (15, 4, 240), (15, 5, 300), (15, 400, 300), (5, 9, 160), (3600, 3, 3600)],
)
def test_failures_in_a_row_are_retried_ever_later(interval_s: int, failures: int, expected_s: int) -> None:
    waits = [back_off(Source(interval_s=interval_s, failures=failures)).total_seconds() for _ in range(50)]
    assert 0.9 * expected_s <= min(waits) < max(waits) <= 1.1 * expected_s


def test_a_target_that_comes_back_is_on_its_grid_again(make_source: MakeSource) -> None:
    with serving(page(LOADS)) as server:
        source = make_source(server.url, interval_s=15, failures=7, error="no connection")
        collect_all()
    after = fresh(source)
    assert after.failures == 0
    assert after.due_at - timezone.now() <= timedelta(seconds=15)
