"""States: the sweep tells fresh from silent, and raises no false alarm when the portal itself was away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from monitoring import states
from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Collector, Server, ServerGroup, ServerState, Simulation, Source
from monitoring.simulation.fleet import ensure_fleet, simulate_due
from monitoring.states import Change, set_states, sweep
from portal.toolkit.redis import client

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def scraped(server: Server) -> Server:
    Source.objects.create(server=server, collector=Collector.HOST, interval_s=10)
    return server


def seen(server: Server, at: datetime) -> None:
    record([Frame.of(server.pk, int(at.timestamp() * 1000), {"cpu": 1.0})], origin="test")


def state_of(server: Server) -> str:
    server.refresh_from_db()
    return server.state


def test_set_states_writes_only_what_differs_and_ranks_it(make_server: Callable[..., Server], now: datetime) -> None:
    one, two = make_server("one"), make_server("two")
    bad = Change(ServerState.CRITICAL, "too hot")
    assert set_states({one.pk: bad}, now) == [one.pk]
    assert set_states({one.pk: bad, two.pk: bad}, now + timedelta(minutes=1)) == [two.pk]
    one.refresh_from_db()
    assert (one.state, one.state_reason, one.state_since, one.state_rank) == ("critical", "too hot", now, 0)


def test_a_new_reason_for_the_same_state_does_not_start_its_time_anew(server: Server, now: datetime) -> None:
    set_states({server.pk: Change(ServerState.CRITICAL, "too hot")}, now)
    set_states({server.pk: Change(ServerState.CRITICAL, "too hot and too full")}, now + timedelta(minutes=1))
    server.refresh_from_db()
    assert (server.state_reason, server.state_since) == ("too hot and too full", now)


def test_the_sweep_does_not_undo_what_changed_since_it_looked(server: Server, now: datetime) -> None:
    seen(server, now)
    looked = states._watched()
    set_states({server.pk: Change(ServerState.CRITICAL, "too hot")}, now)
    with pytest.MonkeyPatch.context() as meanwhile:
        meanwhile.setattr(states, "_watched", lambda: looked)
        assert sweep(now) == []
    assert state_of(server) == "critical"


def test_a_server_with_fresh_data_becomes_healthy_and_one_without_stays_unknown(
    make_server: Callable[..., Server], now: datetime
) -> None:
    fresh, never = make_server("fresh"), make_server("never")
    seen(fresh, now)
    sweep(now)
    assert (state_of(fresh), state_of(never), never.state_reason) == ("healthy", "unknown", states.NEVER_SEEN)


def test_warning_and_critical_are_kept_while_data_is_fresh(server: Server, now: datetime) -> None:
    seen(server, now)
    set_states({server.pk: Change(ServerState.CRITICAL, "cpu")}, now)
    assert sweep(now) == []
    assert state_of(server) == "critical"


def test_a_silent_server_goes_offline_once_somebody_tried_and_says_since_when(scraped: Server, now: datetime) -> None:
    seen(scraped, now)
    sweep(now)
    later = now + timedelta(seconds=31)
    sweep(later)
    assert state_of(scraped) == "healthy", "nobody asked it since: the portal was away"
    Source.objects.update(error_at=later, error="refused")
    sweep(later)
    assert (state_of(scraped), scraped.state_reason) == ("offline", states.SILENT)
    assert scraped.seen_at is not None
    assert abs(scraped.seen_at - now) < timedelta(seconds=1)


def test_it_comes_back_with_the_next_sample(scraped: Server, now: datetime) -> None:
    seen(scraped, now - timedelta(seconds=60))
    Source.objects.update(error_at=now, error="refused")
    sweep(now)
    seen(scraped, now)
    sweep(now)
    assert state_of(scraped) == "healthy"


@pytest.fixture
def full_redis() -> Iterator[Callable[[], None]]:
    """Call it, and Redis refuses every write but still answers with what it has."""
    before = client().config_get("maxmemory*")

    def fill() -> None:
        client().config_set("maxmemory-policy", "noeviction")
        client().config_set("maxmemory", 1)

    yield fill
    client().config_set("maxmemory", before["maxmemory"])
    client().config_set("maxmemory-policy", before["maxmemory-policy"])


def test_a_redis_that_takes_no_writes_raises_no_false_alarm(
    scraped: Server, now: datetime, full_redis: Callable[[], None]
) -> None:
    seen(scraped, now - timedelta(seconds=60))
    sweep(now - timedelta(seconds=60))
    full_redis()
    seen(scraped, now)
    Source.objects.update(ok_at=now)
    sweep(now)
    assert state_of(scraped) == "healthy"


def test_after_a_flush_a_server_that_is_read_hourly_stays_healthy(server: Server, now: datetime) -> None:
    Source.objects.create(server=server, collector=Collector.HOST, interval_s=3600)
    for hours in (9, 5, 1):
        at = now - timedelta(hours=hours, minutes=-5)
        seen(server, at)
        Source.objects.update(ok_at=at)
        sweep(at)
    client().flushdb()
    sweep(now)
    assert state_of(server) == "healthy"


def test_last_seen_follows_while_the_state_stays(scraped: Server, now: datetime) -> None:
    seen(scraped, now - timedelta(minutes=5))
    sweep(now - timedelta(minutes=5))
    seen(scraped, now)
    assert sweep(now) == [], "no state has changed"
    scraped.refresh_from_db()
    assert scraped.seen_at is not None
    assert abs(scraped.seen_at - now) < timedelta(seconds=1)


def test_a_pause_shows_and_its_end_waits_for_data_before_it_says_offline(scraped: Server, now: datetime) -> None:
    seen(scraped, now)
    Server.objects.update(paused=True)
    sweep(now)
    assert state_of(scraped) == "paused"
    resumed = now + timedelta(minutes=10)
    Server.objects.update(paused=False)
    sweep(resumed)
    assert (state_of(scraped), scraped.state_reason) == ("unknown", states.WAITING)
    Source.objects.update(error_at=resumed + timedelta(seconds=5), error="refused")
    sweep(resumed + timedelta(seconds=10))
    assert state_of(scraped) == "unknown"
    sweep(resumed + timedelta(seconds=40))
    assert state_of(scraped) == "offline"


def test_a_paused_simulation_pauses_its_servers(group: ServerGroup, now: datetime) -> None:
    ensure_fleet(2, group)
    simulate_due(now)
    Simulation.objects.update(paused=True)
    sweep(now)
    assert set(Server.objects.values_list("state", flat=True)) == {"paused"}


def test_a_thousand_servers_cost_as_many_queries_as_one(
    group: ServerGroup, now: datetime, django_assert_num_queries: Callable[..., object]
) -> None:
    ensure_fleet(1000, group)
    simulate_due(now)
    with django_assert_num_queries(3):  # type: ignore[attr-defined]
        assert len(sweep(now)) == 1000


def test_a_server_all_of_whose_sources_are_paused_says_so_at_once(scraped: Server, now: datetime) -> None:
    seen(scraped, now)
    sweep(now)
    Source.objects.update(paused=True)
    sweep(now)
    assert (state_of(scraped), scraped.state_reason) == ("paused", states.SOURCES_PAUSED)
    Source.objects.create(server=scraped, collector=Collector.PROMETHEUS, url="http://10.0.0.5/metrics")
    sweep(now)
    assert state_of(scraped) == "healthy"
