"""Servers that a source lists: there when they are, paused when they are gone, and never somebody else's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring import states
from monitoring.collectors import found, run
from monitoring.collectors.base import Collected, Found
from monitoring.history.frame import SeriesName
from monitoring.history.read import read
from monitoring.models import Batch, Collector, Server, ServerGroup, ServerKind, ServerState, Source
from monitoring.queries import samples
from portal.toolkit.sentence import say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_redis")]

CPU = SeriesName("cpu")
CONTAINERS = SeriesName("containers")
Listing = Callable[..., run.Outcome]


def one(name: str, cpu: float = 5.0, **fields: Any) -> Found:
    return Found(name, ServerKind.CONTAINER, {CPU: cpu}, **fields)


@pytest.fixture
def source(server: Server) -> Source:
    return Source.objects.create(server=server, collector=Collector.HOST, interval_s=30)


@pytest.fixture
def listing(source: Source, monkeypatch: pytest.MonkeyPatch) -> Listing:
    """Run the source once; it lists what is given."""

    def run_with(*names: str | Found, of: Source | None = None) -> run.Outcome:
        listed = [one(name) if isinstance(name, str) else name for name in names]
        collected = Collected({CONTAINERS: float(len(listed))}, len(listed), found=listed)
        monkeypatch.setattr("monitoring.collectors.host.collect", lambda source, now_ms: collected)
        return run.run_once(Source.objects.get(pk=(of or source).pk))

    return run_with


def names() -> list[str]:
    return sorted(Server.objects.values_list("name", flat=True))


def newest(server: Server, name: SeriesName = CPU) -> list[float]:
    now_ms = time.time_ns() // 1_000_000
    return [float(value) for value in read(server.pk, [name], now_ms - 60_000, now_ms + 1000).values[0]]


def by_name(name: str) -> Server:
    return Server.objects.get(name=name)


# --- What is listed ---------------------------------------------------------------------------------------------------
def test_what_is_listed_becomes_a_server_of_the_sources_group(source: Source, listing: Listing) -> None:
    assert listing(one("web", 12.5, description="nginx:1.27")).error == ""
    web = by_name("alpha/web")
    assert (web.kind, web.group, web.description) == (ServerKind.CONTAINER, source.server.group, "nginx:1.27")
    assert web.found_by == source
    assert newest(web) == [12.5]


def test_all_of_a_run_is_one_batch(source: Source, listing: Listing) -> None:
    listing("web", "db")
    [batch] = Batch.objects.all()
    assert set(batch.server_ids) == set(Server.objects.values_list("pk", flat=True))
    assert newest(source.server, CONTAINERS) == [2.0]


def test_a_run_without_news_asks_once_however_many_servers(source: Source, listing: Listing) -> None:
    def queries(listed: Sequence[Found]) -> int:
        with CaptureQueriesContext(connection) as asked:
            found.enrol(source, listed, timezone.now())
        return sum(query["sql"].startswith(("SELECT", "INSERT", "UPDATE")) for query in asked.captured_queries)

    few, many = [one("a")], [one(f"c{n}") for n in range(300)]
    assert queries(few) == 4
    assert queries([*few, *many]) == 4
    assert queries([*few, *many]) == 1
    assert queries(few) == 2


def test_a_container_that_could_not_be_measured_stays_and_has_a_gap(listing: Listing) -> None:
    listing("web")
    listing(Found("web", ServerKind.CONTAINER, {}))
    assert by_name("alpha/web").gone_at is None
    assert newest(by_name("alpha/web")) == [5.0]


def test_a_new_image_is_told(listing: Listing) -> None:
    listing(one("web", description="nginx:1.27"))
    listing(one("web", description="nginx:1.28"))
    assert by_name("alpha/web").description == "nginx:1.28"


def test_what_an_admin_has_paused_is_not_recorded(listing: Listing) -> None:
    listing("web")
    Server.objects.filter(name="alpha/web").update(paused=True)
    listing("web")
    assert len(newest(by_name("alpha/web"))) == 1


# --- What is refused --------------------------------------------------------------------------------------------------
def test_a_name_that_is_somebody_elses_is_refused_and_the_rest_kept(
    make_server: Callable[..., Server], listing: Listing
) -> None:
    other = make_server("alpha/web")
    assert say(listing("web", "db").error) == "1 name is another server's: “alpha/web”."
    other.refresh_from_db()
    assert other.found_by is None
    assert newest(other) == []
    assert newest(by_name("alpha/db")) == [5.0]


def test_two_sources_do_not_take_each_others_servers(source: Source, listing: Listing) -> None:
    second = Source.objects.create(server=source.server, collector=Collector.HOST, url="b", interval_s=30)
    listing("web")
    assert "another server's" in say(listing("web", of=second).error)
    assert by_name("alpha/web").found_by == source


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 200])
def test_a_name_that_cannot_be_shown_is_refused(listing: Listing, name: str) -> None:
    assert say(listing(name, "db").error).startswith("1 name cannot be a server's: “")
    assert names() == ["alpha", "alpha/db"]


def test_of_two_of_one_name_the_first_counts(listing: Listing) -> None:
    assert "cannot be a server's" in say(listing(one("web", 1.0), one("web", 2.0)).error)
    assert newest(by_name("alpha/web")) == [1.0]


def test_more_than_the_most_are_refused_with_words(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found, "MOST", 2)
    listing("a")
    assert say(listing("a", "b", "c", "d").error) == "2 more are listed than the 2 that one source may bring."
    assert names() == ["alpha", "alpha/a", "alpha/b"]


# --- What is gone -----------------------------------------------------------------------------------------------------
def test_what_is_not_listed_any_more_is_gone_until_it_is_back(listing: Listing) -> None:
    listing("web", "db")
    listing("db")
    assert by_name("alpha/web").gone_at is not None
    assert by_name("alpha/db").gone_at is None
    listing("web", "db")
    assert by_name("alpha/web").gone_at is None
    assert len(newest(by_name("alpha/web"))) == 2


def test_a_listing_that_failed_makes_nothing_gone(
    source: Source, listing: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing("web")
    monkeypatch.setattr("monitoring.collectors.host.collect", lambda *args: Collected({CONTAINERS: 0.0}, 1))
    run.run_once(source)
    assert by_name("alpha/web").gone_at is None


def gone(name: str, listing: Listing, **ago: float) -> Server:
    """A server that was listed once, gone since then, and shown so."""
    listing(name)
    listing()
    Server.objects.filter(name=f"alpha/{name}").update(
        gone_at=timezone.now() - timedelta(**ago), state=ServerState.PAUSED
    )
    return by_name(f"alpha/{name}")


def test_who_is_gone_for_a_week_is_forgotten(listing: Listing) -> None:
    gone("old", listing, days=8)
    gone("young", listing, days=6)
    assert found.forget_gone(timezone.now()) == 1
    assert names() == ["alpha", "alpha/young"]


def test_who_is_not_shown_as_paused_yet_is_not_forgotten(listing: Listing) -> None:
    server = gone("old", listing, days=8)
    states.set_states({server.pk: states.Change(ServerState.CRITICAL)}, timezone.now())
    assert found.forget_gone(timezone.now()) == 0


def test_who_has_a_source_of_its_own_is_not_forgotten(listing: Listing) -> None:
    Source.objects.create(server=gone("old", listing, days=8), collector=Collector.HOST)
    assert found.forget_gone(timezone.now()) == 0


def test_of_many_that_are_gone_those_that_left_last_are_kept(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    for hours, name in enumerate(("a", "b", "c"), 1):
        gone(name, listing, hours=hours)
    monkeypatch.setattr(found, "MOST", 2)
    found.forget_gone(timezone.now())
    assert names() == ["alpha", "alpha/a", "alpha/b"]


# --- What becomes of the source ---------------------------------------------------------------------------------------
def test_what_a_deleted_source_found_is_gone_and_the_next_source_takes_it_over(
    source: Source, server: Server, listing: Listing
) -> None:
    listing("web")
    web = by_name("alpha/web")
    source.delete()
    web.refresh_from_db()
    assert web.gone_at is not None
    again = Source.objects.create(server=server, collector=Collector.HOST)
    assert listing("web", of=again).error == ""
    back = by_name("alpha/web")
    assert (back.pk, back.found_by, back.gone_at) == (web.pk, again, None)


def test_deleting_the_server_leaves_what_was_found_gone(server: Server, listing: Listing) -> None:
    listing("web")
    server.delete()
    assert by_name("alpha/web").gone_at is not None


def test_what_was_found_moves_with_the_server_to_its_group(server: Server, listing: Listing) -> None:
    listing("web")
    elsewhere = ServerGroup.objects.create(name="Elsewhere")
    Server.objects.filter(pk=server.pk).update(group=elsewhere)
    listing("web")
    assert by_name("alpha/web").group == elsewhere


def test_a_renamed_server_takes_its_name_to_what_it_found(server: Server, listing: Listing) -> None:
    listing("shop/web", "web")
    before = {by_name("alpha/web").pk, by_name("alpha/shop/web").pk}
    Server.objects.filter(pk=server.pk).update(name="rack/beta")
    listing("shop/web", "web")
    assert names() == ["rack/beta", "rack/beta/shop/web", "rack/beta/web"]
    assert {by_name("rack/beta/web").pk, by_name("rack/beta/shop/web").pk} == before


# --- How fresh it is --------------------------------------------------------------------------------------------------
def test_a_found_server_is_read_as_often_as_its_source(listing: Listing) -> None:
    listing("web")
    assert samples.intervals()[by_name("alpha/web").pk] == 30


def test_a_found_server_is_offline_only_when_its_source_was_asked(source: Source, listing: Listing) -> None:
    listing("web")
    states.sweep()
    later = timezone.now() + timedelta(minutes=5)
    states.sweep(later)
    assert by_name("alpha/web").state == ServerState.HEALTHY
    Source.objects.update(error_at=later)
    states.sweep(later)
    assert by_name("alpha/web").state == ServerState.OFFLINE


def test_pausing_the_source_pauses_what_it_found(source: Source, listing: Listing) -> None:
    listing("web")
    Source.objects.update(paused=True)
    states.sweep()
    web = by_name("alpha/web")
    assert (web.state, web.state_reason) == (ServerState.PAUSED, states.SOURCES_PAUSED)
    assert web.pk in states.pauses()


def test_pausing_the_sources_server_pauses_what_was_found_there(server: Server, listing: Listing) -> None:
    listing("web")
    Server.objects.filter(pk=server.pk).update(paused=True)
    states.sweep()
    web = by_name("alpha/web")
    assert (web.state, say(web.state_reason)) == (ServerState.PAUSED, "Paused with alpha, where it was found.")


def test_a_source_that_fails_is_told_of_once_and_not_of_all_that_it_found(source: Source, listing: Listing) -> None:
    listing("web")
    later = timezone.now() + timedelta(minutes=5)
    Source.objects.update(error_at=later, failures=3)
    states.sweep(later)
    web = by_name("alpha/web")
    said = say(web.state_reason)
    assert (web.state, said) == (ServerState.PAUSED, "alpha, where it was found, cannot be asked.")
    assert by_name("alpha").state == ServerState.OFFLINE


def test_what_is_gone_says_so(listing: Listing) -> None:
    listing("web")
    listing()
    states.sweep()
    assert by_name("alpha/web").state_reason == states.GONE


def test_a_container_that_is_gone_opens_no_incident_and_one_that_is_back_is_watched(listing: Listing) -> None:
    listing("web")
    listing()
    assert by_name("alpha/web").pk in states.pauses()
    listing("web")
    assert by_name("alpha/web").pk not in states.pauses()
