"""What is pushed equals what a reload shows, topic by topic."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.utils import timezone, translation
from pytest_django import DjangoAssertNumQueries

from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Collector, Server, ServerState, Source
from monitoring.states import Change, set_states
from portal.toolkit.live.topic import topics
from tests.cast import Cast, make_cast, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]


@pytest.fixture
def cast(db: None) -> Cast:
    cast = make_cast()
    now = timezone.now()
    frame = Frame.of(cast.server.pk, int(now.timestamp() * 1000), {"cpu": 97.0, "memory": 40.0, "net_rx": 5.0})
    record([frame], origin="test")
    set_states({cast.server.pk: Change(ServerState.OFFLINE, "No data arrives any more.")}, now)
    Source.objects.create(
        server=cast.server, collector=Collector.PROMETHEUS, url="http://10.0.0.9/", failures=2, error="no"
    )
    return cast


def pushed(topic: str, key: str, language: str) -> str:
    with translation.override(language):
        return topics()[topic].render([key], language)[key]


def shown(client: Client, address: str, language: str) -> str:
    return client.get(address, headers={"Accept-Language": language}).content.decode()


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize(
    ("topic", "address"),
    [("server", "/"), ("fleet", "/"), ("vitals", "/servers/{}/"), ("samples", "/servers/{}/")],
)
def test_what_is_pushed_is_what_a_reload_shows(cast: Cast, topic: str, address: str, language: str) -> None:
    asked = "" if topic == "fleet" else str(cast.server.pk)
    key = topics()[topic].admit(cast.reader, asked)
    assert key is not None
    before = pushed(topic, key, language)
    page = shown(sign_in(cast.reader), address.format(cast.server.pk), language)
    # A sparkline moves on with the clock: what is pushed is what the page shows before it did, or after.
    assert before.strip() in page or pushed(topic, key, language).strip() in page


@pytest.mark.parametrize("topic", ["server", "fleet", "vitals", "samples"])
def test_a_fragment_has_one_root_with_an_id_and_a_stamp(cast: Cast, topic: str) -> None:
    key = topics()[topic].admit(cast.reader, "" if topic == "fleet" else str(cast.server.pk))
    assert key is not None
    html = pushed(topic, key, "en").strip()
    tag = re.match(r"<(\w+) id=\"([\w-]+)\"[^>]* data-at=\"\d+\"", html)
    assert tag is not None
    assert html.endswith(f"</{tag[1]}>")
    assert len(re.findall(rf"<{tag[1]}\b", html)) == len(re.findall(rf"</{tag[1]}>", html))
    assert "csrf" not in html


@pytest.mark.parametrize("topic", ["server", "vitals", "samples"])
def test_a_server_that_is_gone_is_left_out(cast: Cast, topic: str) -> None:
    key = str(cast.server.pk)
    cast.server.delete()
    assert topics()[topic].render([key], "en") == {}


@pytest.mark.parametrize("topic", ["server", "vitals", "samples"])
def test_only_members_may_watch_a_server(cast: Cast, topic: str) -> None:
    key = str(cast.server.pk)
    assert topics()[topic].admit(cast.reader, key) == key
    assert topics()[topic].admit(cast.stranger, key) is None


@pytest.mark.parametrize("key", ["", "x", "-1", "1.0", "١", "9" * 40, "1 OR 1=1"])
def test_a_key_that_is_no_server_is_refused(cast: Cast, key: str) -> None:
    assert topics()["server"].admit(cast.superuser, key) is None


def test_the_totals_are_those_of_ones_own_audience(cast: Cast) -> None:
    fleet = topics()["fleet"]
    assert fleet.admit(cast.reader, "") == str(cast.group.pk)
    assert fleet.admit(cast.superuser, "") == "*"
    assert fleet.admit(cast.stranger, str(cast.group.pk)) is None
    Server.objects.create(name="elsewhere-1", group=cast.elsewhere)
    assert "<b>1</b><span>server</span>" in pushed("fleet", str(cast.group.pk), "en")
    assert "<b>2</b><span>servers</span>" in pushed("fleet", "*", "en")


@pytest.mark.parametrize("topic", ["server", "vitals", "samples"])
def test_many_keys_cost_as_many_queries_as_one(cast: Cast, topic: str, django_assert_max_num_queries: object) -> None:
    servers = [Server.objects.create(name=f"node-{number}", group=cast.group) for number in range(30)]
    keys = [str(server.pk) for server in servers]
    topics()[topic].render(keys, "en")
    with django_assert_max_num_queries(2):  # type: ignore[operator]
        assert len(topics()[topic].render(keys, "en")) == 30


@pytest.mark.parametrize("topic", ["server", "vitals", "samples"])
def test_whether_many_servers_may_be_watched_is_one_query(
    cast: Cast, topic: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    group = {"reader": cast.group, "stranger": cast.elsewhere}
    ids = {
        name: [
            server.pk for server in Server.objects.bulk_create(Server(name=f"{name}-{n}", group=of) for n in range(40))
        ]
        for name, of in group.items()
    }
    asked = ["", "x", "-1", str(10**17), f"00{cast.server.pk}", *(str(pk) for pks in ids.values() for pk in pks)]
    with django_assert_num_queries(1):
        found = topics()[topic].admit_many(cast.reader, asked)
    assert found == {f"00{cast.server.pk}": str(cast.server.pk)} | {str(pk): str(pk) for pk in ids["reader"]}
    with django_assert_num_queries(0):
        assert topics()[topic].admit_many(cast.reader, ["", "x", "-1"]) == {}
