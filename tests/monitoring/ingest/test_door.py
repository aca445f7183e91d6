"""The door of all that is pushed: its budget, how often servers send, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring import states
from monitoring.history.frame import SeriesName
from monitoring.history.read import read
from monitoring.ingest import desk, door, hosts, pace, shelves
from monitoring.ingest.door import take
from monitoring.ingest.points import Points, PointSeries
from monitoring.models import Metric, PushToken, Server, ServerState
from monitoring.queries.samples import intervals
from portal.toolkit.instants import from_ms

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]


def points(rows: list[tuple[str, str, int, float]], **fields: Any) -> Points:
    """(host, metric, epoch ms, value) each."""
    names = list(dict.fromkeys(PointSeries(host, SeriesName(metric)) for host, metric, _, _ in rows))
    which = [names.index(PointSeries(host, SeriesName(metric))) for host, metric, _, _ in rows]
    at_ms, values = np.array([row[2] for row in rows], np.int64), np.array([row[3] for row in rows])
    return Points(names, np.array(which, np.intp), at_ms, values, **fields)


@pytest.fixture
def now_ms() -> int:
    return int(time.time() * 1000) - 60_000


def kept(host: str, metric: str, start_ms: int) -> list[tuple[int, float]]:
    tracks = read(Server.objects.get(name=host).pk, [SeriesName(metric)], start_ms, start_ms + 60_000)
    return list(zip((tracks.at_ms - start_ms).tolist(), tracks.values[0].tolist(), strict=True))


def test_samples_in_any_order_find_their_series(token: PushToken, now_ms: int) -> None:
    rows = [
        (host, metric, now_ms + at, hash((host, metric, at)) % 100)
        for host in "ab"
        for metric in "xyz"
        for at in (0, 5, 9)
    ]
    order = np.random.default_rng(1).permutation(len(rows))
    assert take(points([rows[i] for i in order]), token, origin="t").kept == len(rows)
    for host in "ab":
        for metric in "xyz":
            sent = [(at - now_ms, value) for h, m, at, value in rows if (h, m) == (host, metric)]
            assert kept(host, metric, now_ms) == sent


def test_of_two_values_for_one_instant_the_first_counts(token: PushToken, now_ms: int) -> None:
    take(points([("a", "x", now_ms, 1.0), ("a", "x", now_ms, 2.0)]), token, origin="t")
    take(points([("a", "x", now_ms, 3.0)]), token, origin="t")
    assert kept("a", "x", now_ms) == [(0, 1.0)]


def test_what_does_not_fit_into_memory_at_once_goes_in_portions(
    token: PushToken, now_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "CELLS_AT_ONCE", 7)
    rows = [("a", metric, now_ms + at, float(at)) for metric in "xyz" for at in range(20)]
    assert take(points(rows), token, origin="t").kept == 60
    assert kept("a", "y", now_ms) == [(at, float(at)) for at in range(20)]


def test_known_series_cost_no_query_of_their_own(token: PushToken, now_ms: int) -> None:
    def tables(metrics: str, at: int) -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            take(points([(host, metric, now_ms + at, 1.0) for host in "ab" for metric in metrics]), token, origin="t")
        asked = " ".join(each["sql"] for each in captured.captured_queries)
        return [table for table in ("_server", "_series", "_pushtoken", "_metric") if f"monitoring{table}" in asked]

    assert tables("xyz", 0) == ["_server", "_series", "_pushtoken", "_metric"]
    tables("xyz", 1)
    assert tables("xyz", 2) == tables("zx", 3) == tables("y", 4) == []


def test_a_layout_only_grows(token: PushToken, now_ms: int) -> None:
    for at, metrics in enumerate(("b", "bd", "bdac", "ca")):
        assert take(points([("a", metric, now_ms + at, 1.0) for metric in metrics]), token, origin="t").kept == len(
            metrics
        )
    (shelf,) = shelves._shelves.values()
    assert [name.metric for name in shelf.layouts[0]] == ["b", "d", "a", "c"]


# --- The budget -------------------------------------------------------------------------------------------------------


def test_new_series_over_the_budget_are_refused_by_name_and_known_ones_are_kept(
    make_token: Callable[..., PushToken], now_ms: int
) -> None:
    token = make_token(series_budget=2)
    assert take(points([("a", "x", now_ms, 1.0), ("a", "y", now_ms, 1.0)]), token, origin="t").rejected == []
    taken = take(points([("a", metric, now_ms + 5, 2.0) for metric in "xyz"]), token, origin="t")
    assert (taken.kept, [(each.where, each.count) for each in taken.rejected]) == (2, [("a: z", 1)])
    assert "budget of 2 series" in taken.rejected[0].reason


def test_an_exhausted_budget_costs_no_query(make_token: Callable[..., PushToken], now_ms: int) -> None:
    token = make_token(series_budget=1)
    take(points([("a", "x", now_ms, 1.0), ("a", "y", now_ms, 1.0)]), token, origin="t")
    with CaptureQueriesContext(connection) as captured:
        taken = take(points([("a", "y", now_ms + 1, 1.0)]), token, origin="t")
    assert (taken.kept, taken.refused, len(captured)) == (0, 1, 0)


def test_hosts_join_only_while_there_is_room_for_series(make_token: Callable[..., PushToken], now_ms: int) -> None:
    token = make_token(series_budget=3)
    taken = take(points([(f"h{number}", "x", now_ms, 1.0) for number in range(50)]), token, origin="t")
    assert (taken.kept, taken.refused, Server.objects.count()) == (3, 47, 3)


def test_the_budget_has_room_again_when_a_server_goes(make_token: Callable[..., PushToken], now_ms: int) -> None:
    token = make_token(series_budget=2)
    take(points([("a", "x", now_ms, 1.0), ("a", "y", now_ms, 1.0)]), token, origin="t")
    Server.objects.all().delete()
    for module in (desk, shelves, hosts):
        module.forget()
    assert take(points([("b", "x", now_ms, 1.0), ("b", "y", now_ms, 1.0)]), token, origin="t").kept == 2


def test_a_hundred_thousand_new_series_meet_the_budget(make_token: Callable[..., PushToken], now_ms: int) -> None:
    token = make_token(series_budget=100)
    names = [PointSeries("a", SeriesName("x", f'{{"id":"{number}"}}')) for number in range(100_000)]
    many = Points(names, np.arange(len(names)), np.full(len(names), now_ms), np.ones(len(names)))
    taken = take(many, token, origin="t")
    assert (taken.kept, taken.refused) == (100, 99_900)
    assert len(taken.rejected) <= 101
    assert Metric.objects.filter(name="x").count() == 1


# --- What is learned --------------------------------------------------------------------------------------------------


def test_counters_are_flagged_but_for_the_catalogue(token: PushToken, now_ms: int) -> None:
    rows = [("a", "requests_total", now_ms, 1.0), ("a", "cpu", now_ms, 1.0)]
    take(points(rows, counters={"requests_total", "cpu"}), token, origin="t")
    assert list(Metric.objects.filter(is_counter=True).values_list("name", flat=True)) == ["requests_total"]


def test_how_often_a_server_sends_is_learned_from_its_instants(token: PushToken, now_ms: int) -> None:
    for number in range(pace.ENOUGH + 1):
        take(points([("a", metric, now_ms + number * 15_000 - 600_000, 1.0) for metric in "xy"]), token, origin="t")
    server = Server.objects.get(name="a")
    assert server.push_interval_s == 15
    assert intervals([server.pk]) == {server.pk: 15}


def test_a_small_change_of_the_interval_is_not_written(token: PushToken, now_ms: int) -> None:
    rows = [("a", "x", now_ms - 900_000 + number * 15_000, 1.0) for number in range(8)]
    take(points(rows), token, origin="t")
    take(points([("a", "x", now_ms - 700_000 + number * 17_000, 1.0) for number in range(20)]), token, origin="t")
    assert Server.objects.get(name="a").push_interval_s == 15


def test_what_the_sender_tells_of_its_interval_counts(token: PushToken, now_ms: int) -> None:
    for interval_s, written in ((10, 10), (11, 11), (86_400, pace.MOST_S)):
        take(points([("a", "x", now_ms + interval_s, 1.0)], intervals_s={"a": interval_s}), token, origin="t")
        assert Server.objects.get(name="a").push_interval_s == written


def test_an_interval_that_could_not_be_written_is_written_with_the_next_push(
    token: PushToken, now_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the server would be called silent between any two pushes, as long as this process lives."""

    def away(*_: Any) -> None:
        raise OperationalError

    said = points([("a", "x", now_ms, 1.0)], intervals_s={"a": 60})
    with monkeypatch.context() as broken:
        broken.setattr(pace, "_write", away)
        with pytest.raises(OperationalError):
            take(said, token, origin="t")
    take(said, token, origin="t")
    assert Server.objects.get(name="a").push_interval_s == 60


def test_a_server_that_pushed_is_not_called_silent_before_it_could_be_heard(
    token: PushToken, now_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the portal itself was away, nobody can say who has stopped."""
    monkeypatch.setattr(states, "_sweeps", None)
    take(points([("a", "x", now_ms, 1.0)], intervals_s={"a": 10}), token, origin="t")
    server = Server.objects.get(name="a")
    states.sweep(from_ms(now_ms + 1000))
    back = from_ms(now_ms) + timedelta(hours=1)
    seen = []
    for second in (0, 20, 40):
        states.sweep(back + timedelta(seconds=second))
        server.refresh_from_db()
        seen.append(server.state)
    assert seen == [ServerState.HEALTHY, ServerState.HEALTHY, ServerState.OFFLINE]


def test_a_server_that_is_gone_is_paused_and_says_why(server: Server) -> None:
    Server.objects.update(gone_at=timezone.now())
    states.sweep()
    server.refresh_from_db()
    assert (server.state, server.state_reason) == (ServerState.PAUSED, states.GONE)
