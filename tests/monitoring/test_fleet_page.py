"""The fleet page, driven through its address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone

from monitoring.history.frame import Frame, SeriesName
from monitoring.history.record import record
from monitoring.models import Collector, Server, ServerGroup, ServerState, ServerTemplate, Simulation, Source
from monitoring.queries.fleet import CARDS_PER_PAGE
from monitoring.states import Change, set_states
from tests.cast import Cast, make_cast, person, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

AS_SCRIPT = {"HX-Request": "true", "HX-Target": "fleet"}


@pytest.fixture
def admin(db: None) -> Client:
    return sign_in(person("admin", is_staff=True, is_superuser=True))


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def page(client: Client, address: str = "/", **headers: Any) -> str:
    response = client.get(address, headers=headers or None)
    assert response.status_code == 200
    return response.content.decode()


def measured(server: Server, **values: float) -> None:
    now_ms = int(timezone.now().timestamp() * 1000)
    record([Frame.of(server.pk, now_ms, values)], origin="test")


def in_order(html: str, *texts: str) -> bool:
    places = [html.find(f">{text}<") for text in texts]
    return -1 not in places and places == sorted(places)


def test_a_card_shows_the_newest_numbers(admin: Client, server: Server) -> None:
    measured(server, cpu=42.0, memory=81.5, disk=93.0, net_rx=1536.0, net_tx=340.0)
    html = page(admin)
    assert "42.0%" in html
    assert '<div class="gauge high"><dt>Mem</dt><dd>81.5%</dd>' in html
    assert '<div class="gauge full"><dt>Disk</dt><dd>93.0%</dd>' in html
    assert "1.5 MB/s" in html
    assert "340 KB/s" in html


def test_the_card_of_what_is_no_machine_shows_what_it_measures(admin: Client, server: Server) -> None:
    measured(server, db_connections_share=93.0, db_cache_hit=99.0, db_transactions=12.0, db_size=100.0)
    html = page(admin)
    assert '<div class="gauge full"><dt>Connections</dt><dd>93.0%</dd><dd class="bar w93"></dd>' in html
    assert '<div class="gauge "><dt>Cache hit</dt><dd>99.0%</dd><dd class="bar w99"></dd>' in html
    assert "<dt>Transactions</dt><dd>12/s</dd></div>" in html
    assert "Network in" not in html.split('class="cards')[1]


def test_a_failed_check_says_why_on_its_card(admin: Client, server: Server) -> None:
    Source.objects.create(server=server, collector="http", url="http://192.0.2.7/", error="The status is 503.")
    measured(server, check_up=0.0, check_time=12.0, check_status=503.0)
    html = page(admin)
    assert "Check failed: The status is 503." in html
    assert '<div class="gauge full"><dt>Check</dt><dd>failed</dd></div>' in html


def test_of_several_checks_the_card_names_those_that_failed_first(admin: Client, server: Server) -> None:
    now_ms = int(timezone.now().timestamp() * 1000)
    for name, up in (("blog", 1.0), ("shop", 0.0)):
        layout = (SeriesName("check_up", f'{{"check":"{name}"}}'),)
        record([Frame(server.pk, now_ms, layout, np.array([up]))], origin="test")
    html = page(admin)
    assert html.index("<dt>shop</dt><dd>failed</dd>") < html.index("<dt>blog</dt><dd>passed</dd>")


def test_what_no_catalogue_knows_is_shown_by_its_own_name(admin: Client, server: Server) -> None:
    measured(server, sheep_counted=42.0)
    assert "<dt>sheep_counted</dt><dd>42</dd>" in page(admin)


def test_the_worst_comes_first(admin: Client, make_server: Callable[..., Server]) -> None:
    states = {"a": "healthy", "b": "warning", "c": "critical", "d": "offline", "e": "paused", "f": "unknown"}
    for name, state in states.items():
        make_server(name, state=state)
    assert in_order(page(admin), "c", "d", "b", "f", "e", "a")


def test_it_sorts_by_load_and_puts_what_is_not_measured_last(admin: Client, make_server: Callable[..., Server]) -> None:
    for name, cpu in (("idle", 3.0), ("busy", 97.0), ("middle", 50.0)):
        measured(make_server(name), cpu=cpu)
    make_server("silent")
    assert in_order(page(admin, "/?sort=cpu"), "busy", "middle", "idle", "silent")


@pytest.mark.parametrize("address", ["/?state=critical", "/?kind=database", "/?q=billing", "/?q=BILL+machines"])
def test_a_filter_shows_what_matches_and_says_how_many(
    admin: Client, make_server: Callable[..., Server], address: str
) -> None:
    make_server("billing-db", kind="database", state=ServerState.CRITICAL)
    make_server("shop-web", kind="web", state=ServerState.HEALTHY)
    html = page(admin, address)
    assert ">billing-db<" in html
    assert ">shop-web<" not in html
    assert "1 of 2 servers" in html


def test_a_filter_that_nothing_passes_offers_the_way_back(admin: Client, server: Server) -> None:
    html = page(admin, "/?q=nowhere")
    assert "No server matches" in html
    assert "One server is hidden by the filter." in html


def test_each_page_shows_only_its_own_cards(admin: Client, group: ServerGroup) -> None:
    names = [f"node-{number:03}" for number in range(CARDS_PER_PAGE + 5)]
    Server.objects.bulk_create([Server(name=name, group=group) for name in names])
    first, second = page(admin), page(admin, "/?page=2")
    assert first.count('data-live="server:') == CARDS_PER_PAGE
    assert second.count('data-live="server:') == 5
    assert "Servers 61 to 65 of 65" in second


def test_a_page_beyond_the_end_is_the_last_one(admin: Client, server: Server) -> None:
    assert f">{server.name}<" in page(admin, "/?page=99")


def test_a_thousand_servers_cost_as_many_queries_as_one(
    admin: Client, group: ServerGroup, django_assert_num_queries: Any
) -> None:
    Server.objects.create(name="first", group=group)
    page(admin)  # what a process looks up once; of the nine queries two are the bell's, on every page
    with django_assert_num_queries(9):
        page(admin)
    Server.objects.bulk_create([Server(name=f"node-{number}", group=group) for number in range(200)])
    page(admin)
    with django_assert_num_queries(9):
        page(admin)


def test_a_script_gets_only_the_list_and_the_address_to_show(admin: Client, server: Server) -> None:
    response = admin.get("/?state=&q=alp&sort=worst", headers={**AS_SCRIPT, "HX-Current-URL": "http://testserver/"})
    html = response.content.decode()
    assert html.lstrip().startswith('<section id="fleet"')
    assert response.headers["HX-Push-Url"] == "/?q=alp"
    assert "HX-Request" in response.headers["Vary"]


def test_a_list_that_refreshes_itself_adds_nothing_to_the_history(admin: Client, server: Server) -> None:
    response = admin.get("/?q=alp", headers={**AS_SCRIPT, "HX-Current-URL": "http://testserver/?q=alp"})
    assert "HX-Push-Url" not in response.headers


def test_going_back_gets_the_whole_page(admin: Client, server: Server) -> None:
    assert "<!doctype html>" in page(admin, "/", **AS_SCRIPT, **{"HX-History-Restore-Request": "true"})


def test_the_digest_of_the_list_is_that_of_the_totals(admin: Client, server: Server) -> None:
    html = page(admin)
    digests = {part.split('"')[0] for part in html.split('data-digest="')[1:]}
    assert len(digests) == 1


@pytest.mark.parametrize("change", ["state", "name", "new"])
def test_the_digest_changes_with_the_servers(
    admin: Client, make_server: Callable[..., Server], server: Server, change: str
) -> None:
    before = page(admin).split('data-digest="')[1][:16]
    if change == "state":
        set_states({server.pk: Change(ServerState.CRITICAL, "CPU is high.")}, timezone.now())
    elif change == "name":
        Server.objects.filter(pk=server.pk).update(name="renamed")
    else:
        make_server("another")
    assert page(admin).split('data-digest="')[1][:16] != before


def test_new_samples_do_not_change_the_digest(admin: Client, server: Server) -> None:
    before = page(admin).split('data-digest="')[1][:16]
    measured(server, cpu=12.0)
    assert page(admin).split('data-digest="')[1][:16] == before


def test_everyone_sees_and_counts_only_their_own_groups(cast: Cast) -> None:
    Server.objects.create(name="elsewhere-1", group=cast.elsewhere)
    html = page(sign_in(cast.reader))
    assert "shop-web-1" in html
    assert "elsewhere-1" not in html
    assert "Elsewhere" not in html
    assert "<b>1</b><span>server</span>" in html


def test_without_servers_an_admin_is_told_how_to_begin(admin: Client) -> None:
    html = page(admin)
    assert "No servers yet" in html
    assert "python3 manage.py up --servers 30" in html
    assert "/servers/add/" in html


def test_without_servers_a_member_is_told_whom_to_ask(db: None) -> None:
    html = page(sign_in(person("newcomer")))
    assert "You are not a member of a group that has servers." in html
    assert "/admin/" not in html


def test_a_failing_source_is_said_on_the_card(admin: Client, server: Server) -> None:
    Source.objects.create(
        server=server,
        collector=Collector.PROMETHEUS,
        url="http://10.0.0.9/metrics",
        failures=3,
        error="no answer in 10 s",
    )
    assert "Reading fails: no answer in 10 s" in page(admin)


def test_a_server_without_a_sample_says_what_is_missing_instead_of_empty_meters(admin: Client, server: Server) -> None:
    assert "No source: nothing is read" in page(admin)
    assert "card-body" not in page(admin)
    Source.objects.create(server=server, collector=Collector.PROMETHEUS, url="http://10.0.0.9/metrics")
    assert "No source" not in page(admin)


def test_a_paused_simulation_is_said(admin: Client, make_server: Callable[..., Server]) -> None:
    template, _made = ServerTemplate.objects.get_or_create(name="paused-kind", defaults={"kind": "web", "profile": {}})
    make_server("pretended", template=template)
    Simulation.objects.update_or_create(pk=1, defaults={"paused": True})
    assert "The simulation is paused" in page(admin)


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "‮gnp.txt",
    "🔥 " + "가" * 190,
    "x" * 200,
    "{{ settings.SECRET_KEY }}",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_as_text(admin: Client, make_server: Callable[..., Server], name: str) -> None:
    from django.utils.html import escape

    server = make_server(name)
    for address in ("/", server.get_absolute_url()):
        html = page(admin, address)
        assert str(escape(name)) in html
        assert "<script>alert" not in html
        assert "<img src=x" not in html


def test_theme_and_density_are_in_the_first_byte(admin: Client, server: Server) -> None:
    admin.cookies["theme"] = "dark"
    admin.cookies["density"] = "roomy"
    assert 'data-theme="dark" data-density="roomy"' in page(admin)


def test_a_cookie_of_somebody_else_is_no_theme(admin: Client, server: Server) -> None:
    admin.cookies["theme"] = '"><script>'
    assert 'data-theme="system" data-density="compact"' in page(admin)


def test_no_page_has_a_script_or_style_of_its_own(admin: Client, server: Server) -> None:
    measured(server, cpu=50.0)
    for address in ("/", server.get_absolute_url(), "/servers/0/"):
        html = admin.get(address).content.decode()
        assert " style=" not in html
        assert "<style" not in html
        assert "<script>" not in html
        assert " onclick=" not in html


def test_of_equal_state_real_servers_come_before_simulated_ones(
    admin: Client, make_server: Callable[..., Server]
) -> None:
    template = ServerTemplate.objects.create(name="web", kind="web", profile={})
    make_server("aaa", template=template)
    make_server("zzz")
    page = admin.get("/").content.decode()
    assert page.index("zzz") < page.index("aaa")
