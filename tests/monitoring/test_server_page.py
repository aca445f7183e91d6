"""The page of one server, and the samples of its charts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from monitoring.history.frame import Frame, SeriesName, canonical_labels
from monitoring.history.record import record
from monitoring.models import Collector, Server, Source
from monitoring.panels import panel_groups, series_label
from monitoring.queries.server import MOST_SERIES
from tests.cast import person, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]


@pytest.fixture
def admin(db: None) -> Client:
    return sign_in(person("admin", is_staff=True, is_superuser=True))


@pytest.fixture
def now_ms() -> int:
    return int(timezone.now().timestamp() * 1000) // 5000 * 5000


def samples(client: Client, server: Server, **asked: Any) -> dict[str, Any]:
    response = client.get(f"/servers/{server.pk}/samples/", asked)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def recorded(server: Server, at_ms: list[int], **values: float) -> None:
    record([Frame.of(server.pk, at, values) for at in at_ms], origin="test")


def test_it_shows_a_panel_for_each_metric_that_the_server_has(admin: Client, server: Server, now_ms: int) -> None:
    recorded(server, [now_ms], cpu=12.0, net_rx=1.0, net_tx=2.0, query_time=3.0)
    html = admin.get(f"/servers/{server.pk}/").content.decode()
    assert 'data-metrics="cpu" data-unit="%" data-min="0.0" data-max="100.0"' in html
    assert 'data-metrics="net_rx,net_tx" data-unit="KB/s"' in html
    assert 'id="family-database"' in html
    assert 'data-metrics="memory"' not in html
    assert f'data-live="vitals:{server.pk}"' in html
    assert f'data-live="samples:{server.pk}"' in html


def test_a_server_without_samples_says_that_it_waits(admin: Client, server: Server) -> None:
    html = admin.get(f"/servers/{server.pk}/").content.decode()
    assert "No samples yet" in html


def test_it_tells_how_each_source_does(admin: Client, server: Server) -> None:
    Source.objects.create(
        server=server, collector=Collector.PROMETHEUS, url="http://10.0.0.9/metrics", failures=3, error="it is HTML"
    )
    html = admin.get(f"/servers/{server.pk}/").content.decode()
    assert "http://10.0.0.9/metrics" in html
    assert "Reading it failed 3 times in a row: it is HTML" in html


@pytest.mark.parametrize(("said", "shown"), [("6h", "6h"), ("", "15m"), ("9y", "15m")])
def test_the_range_is_in_the_address(admin: Client, server: Server, said: str, shown: str) -> None:
    html = admin.get(f"/servers/{server.pk}/?range={said}").content.decode()
    assert f'data-range="{shown}" data-first-range="15m"' in html


def test_a_link_may_ask_for_any_time(admin: Client, server: Server) -> None:
    html = admin.get(f"/servers/{server.pk}/?from=2026-11-21T09:00:00Z&to=2026-11-21T18:30:00%2B09:00").content.decode()
    assert 'data-from="1795251600000" data-to="1795253400000"' in html
    assert "aria-current" not in html.split('id="ranges"')[1].split('id="charts"')[0]


@pytest.mark.parametrize(
    "said",
    [
        "from=2026-11-21T09:00:00Z",
        "to=2026-11-21T09:00:00Z",
        "from=2026-11-21T09:00:00Z&to=2026-11-21T09:00:00Z",
        "from=yesterday&to=today",
        "from=0001-01-01T00:00:00Z&to=9999-12-31T00:00:00Z",
    ],
)
def test_a_time_that_is_none_shows_the_first_range(admin: Client, server: Server, said: str) -> None:
    html = admin.get(f"/servers/{server.pk}/?{said}").content.decode()
    assert 'data-range="15m" data-first-range="15m" aria-busy' in html


def test_the_page_costs_the_same_queries_for_many_sources_and_series(
    admin: Client, server: Server, now_ms: int, django_assert_max_num_queries: Any
) -> None:
    recorded(server, [now_ms], **{f"metric_{number}": 1.0 for number in range(80)})
    for number in range(10):
        Source.objects.create(server=server, collector=Collector.PROMETHEUS, url=f"http://10.0.0.{number}/metrics")
    admin.get(f"/servers/{server.pk}/")
    with django_assert_max_num_queries(8):
        admin.get(f"/servers/{server.pk}/")


def test_samples_come_with_label_and_unit(admin: Client, server: Server, now_ms: int) -> None:
    recorded(server, [now_ms - 5000, now_ms], cpu=12.34567891, memory=50.0)
    answer = samples(admin, server)
    assert answer["at"] == [now_ms - 5000, now_ms]
    assert answer["step"] == 0
    cpu = next(one for one in answer["series"] if one["metric"] == "cpu")
    assert cpu == {"metric": "cpu", "labels": {}, "unit": "%", "label": "CPU", "values": [12.345679, 12.345679]}


def test_only_the_asked_metrics_come(admin: Client, server: Server, now_ms: int) -> None:
    recorded(server, [now_ms], cpu=1.0, memory=2.0, disk=3.0)
    answer = samples(admin, server, metrics="cpu,disk,nothing")
    assert {one["metric"] for one in answer["series"]} == {"cpu", "disk"}


def test_of_thousands_of_series_the_first_come_and_the_others_are_counted(
    admin: Client, server: Server, now_ms: int
) -> None:
    recorded(server, [now_ms], cpu=1.0, **{f"exported_{number}": 1.0 for number in range(MOST_SERIES + 9)})
    answer = samples(admin, server)
    assert (len(answer["series"]), answer["left_out"], answer["series"][0]["metric"]) == (MOST_SERIES, 10, "cpu")
    assert len(samples(admin, server, metrics=f"exported_{MOST_SERIES}")["series"]) == 1


def test_only_what_came_after_the_last_point_comes(admin: Client, server: Server, now_ms: int) -> None:
    recorded(server, [now_ms - 10_000, now_ms - 5000, now_ms], cpu=1.0)
    assert samples(admin, server, after=now_ms - 5000)["at"] == [now_ms]
    assert samples(admin, server, after=now_ms)["at"] == []


def test_a_time_leaves_out_what_is_before_and_after_it(admin: Client, server: Server, now_ms: int) -> None:
    recorded(server, [now_ms - 600_000, now_ms - 300_000, now_ms], cpu=1.0)
    first, second = now_ms - 600_000, now_ms - 300_000
    assert samples(admin, server, **{"from": first, "to": second})["at"] == [first]
    assert samples(admin, server, **{"from": first, "to": second + 1})["at"] == [first, second]
    assert samples(admin, server, **{"from": second})["at"] == [second, now_ms]


@pytest.mark.parametrize("asked", [{"from": "x"}, {"from": 5, "to": 5}, {"from": -1}, {"from": 1, "to": "9" * 20}])
def test_a_time_that_cannot_be_is_said(admin: Client, server: Server, asked: dict[str, Any]) -> None:
    response = admin.get(f"/servers/{server.pk}/samples/", asked)
    assert response.status_code == 400
    assert b"use a whole number" in response.content


def test_a_range_leaves_out_what_is_older(admin: Client, server: Server, now_ms: int) -> None:
    recorded(server, [now_ms - 1_800_000, now_ms], cpu=1.0)
    assert samples(admin, server, range="15m")["at"] == [now_ms]
    assert samples(admin, server, range="1h")["at"][0] == now_ms - 1_800_000


def test_a_long_range_is_thinned(admin: Client, server: Server, now_ms: int) -> None:
    recorded(server, [now_ms - 5000 * number for number in range(300)], cpu=1.0)
    answer = samples(admin, server, range="1h", points=60)
    assert answer["step"] == 60_000
    assert len(answer["at"]) <= 62


def test_a_gap_is_null_and_never_a_number(admin: Client, server: Server, now_ms: int) -> None:
    old = [now_ms - 600_000 + 5000 * number for number in range(5)]
    recorded(server, [*old, now_ms], cpu=1.0)
    values = samples(admin, server)["series"][0]["values"]
    assert None in values
    assert 0 not in values


@pytest.mark.parametrize(
    "asked",
    [{"range": "2y"}, {"after": "yesterday"}, {"after": "-1"}, {"points": "0"}, {"points": "1e9"}, {"after": "9" * 40}],
)
def test_what_cannot_be_asked_is_refused_in_words(admin: Client, server: Server, asked: dict[str, str]) -> None:
    response = admin.get(f"/servers/{server.pk}/samples/", asked)
    assert response.status_code == 400
    assert response.content.decode().startswith(next(iter(asked)))


def test_a_stranger_gets_no_samples(make_server: Callable[..., Server]) -> None:
    stranger = sign_in(person("stranger"))
    assert stranger.get(f"/servers/{make_server().pk}/samples/").status_code == 404


def test_labelled_series_share_a_panel_and_are_told_apart(admin: Client, server: Server, now_ms: int) -> None:
    cores = {SeriesName("cpu_core", canonical_labels({"core": str(core)})): 10.0 * core for core in (0, 1)}
    record([Frame.of(server.pk, now_ms, cores)], origin="test")
    html = admin.get(f"/servers/{server.pk}/").content.decode()
    assert html.count('data-metrics="cpu_core"') == 1
    assert [one["label"] for one in samples(admin, server)["series"]] == ["core 0", "core 1"]


def test_metrics_outside_the_catalogue_are_in_the_last_group() -> None:
    groups = panel_groups([SeriesName("go_goroutines"), SeriesName("cpu"), SeriesName("uptime")])
    assert [group.family for group in groups] == ["system", "rest"]
    assert [panel.key for panel in groups[-1].panels] == ["uptime", "go_goroutines"]


def test_a_series_is_called_by_its_labels() -> None:
    assert series_label(SeriesName("cpu")) == "CPU"
    assert series_label(SeriesName("disk_used_share", canonical_labels({"mount": "/var"}))) == "/var"
    assert series_label(SeriesName("x", canonical_labels({"a": "1", "b": "2"}))) == "a=1, b=2"
