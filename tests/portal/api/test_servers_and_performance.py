"""What each server has, and how one did over a while."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.history.frame import Frame
from monitoring.history.record import record
from monitoring.models import Server
from portal.toolkit.instants import from_ms, iso
from tests.cast import Cast, sign_in

SERVERS, PERFORMANCE = "/api/monitoring/servers", "/api/monitoring/performance"


# --- Servers ----------------------------------------------------------------------------------------------------------


def test_a_server_has_the_shape_that_programs_rely_on(cast: Cast, now: int, have: Callable[..., None]) -> None:
    sizes = {"cpu_cores": 4, "memory_total": 16384, "memory_used": 8192, "disk_total": 512000, "disk_used": 256000}
    have(cast.server, now, cpu=35.2, memory=50.0, disk=50.0, net_rx=1024, net_tx=512, connections=245, **sizes)
    have(cast.server, now, uptime=1209600)
    answer = sign_in(cast.reader).get(SERVERS).json()
    assert answer["servers"] == [
        {
            "id": str(cast.server.pk),
            "name": "shop-web-1",
            "status": "unknown",
            "cpu": {"usage": 35.2, "cores": 4.0},
            "memory": {"total": 16384.0, "used": 8192.0, "usage": 50.0},
            "disk": {"total": 512000.0, "used": 256000.0, "usage": 50.0},
            "network": {"rx": 1024.0, "tx": 512.0, "connections": 245.0},
            "uptime": 1209600.0,
            "lastChecked": iso(from_ms(now)),
        }
    ]


def test_one_server_is_found_by_its_id_and_by_its_name(cast: Cast) -> None:
    Server.objects.create(name="web 2/ä", group=cast.group)
    browser = sign_in(cast.reader)
    for asked in (str(cast.server.pk), "shop-web-1"):
        assert [one["name"] for one in browser.get(SERVERS, {"serverId": asked}).json()["servers"]] == ["shop-web-1"]
    assert browser.get(SERVERS, {"serverId": "web 2/ä"}).json()["total"] == 1
    assert browser.get(SERVERS, {"serverId": ""}).json()["total"] == 2


def test_an_id_comes_before_a_name_that_looks_like_one(cast: Cast) -> None:
    Server.objects.create(name=str(cast.server.pk), group=cast.group)
    found = sign_in(cast.reader).get(SERVERS, {"serverId": cast.server.pk}).json()["servers"]
    assert [one["name"] for one in found] == ["shop-web-1"]


@pytest.mark.parametrize("path", [SERVERS, PERFORMANCE])
def test_an_unknown_server_is_404(cast: Cast, path: str) -> None:
    browser = sign_in(cast.reader)
    for asked in ["999999", "nobody", "9" * 40, "-1", "\x00", "١", "x" * 5000]:
        answer = browser.get(path, {"serverId": asked})
        assert answer.status_code == 404, asked
        assert answer.json()["message"] == "There is no such server."


@pytest.mark.parametrize(("who", "status"), [("stranger", 404), ("reader", 200), ("owner", 200), ("superuser", 200)])
@pytest.mark.parametrize("path", [SERVERS, PERFORMANCE])
def test_a_server_of_others_looks_like_none(cast: Cast, path: str, who: str, status: int) -> None:
    for by in (cast.server.pk, cast.server.name):
        assert sign_in(cast.by_name()[who]).get(path, {"serverId": by}).status_code == status


@pytest.mark.parametrize("count", [1, 30])
def test_servers_take_few_queries_however_many(cast: Cast, now: int, have: Callable[..., None], count: int) -> None:
    for number in range(count):
        have(Server.objects.create(name=f"web-{number}", group=cast.group), now, cpu=1.0)
    browser = sign_in(cast.reader)
    browser.get(SERVERS)
    with CaptureQueriesContext(connection) as queries:
        browser.get(SERVERS, {"serverId": "web-0"})
    assert len([query for query in queries if "SAVEPOINT" not in query["sql"]]) == 5


# --- Performance ------------------------------------------------------------------------------------------------------


def ask(cast: Cast, **query: Any) -> dict[str, Any]:
    answer = sign_in(cast.reader).get(PERFORMANCE, {"serverId": cast.server.pk, **query})
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def test_the_last_hour_is_given_as_the_samples_are(cast: Cast, now: int, have: Callable[..., None]) -> None:
    have(cast.server, now - 7_200_000, cpu=99.0)
    have(cast.server, now - 300_000, cpu=32.5, memory=48.2, disk=50.0, net_rx=980.0, net_tx=490.0)
    have(cast.server, now - 5_000, cpu=36.2)
    answer = ask(cast)
    assert answer["step"] == 0
    assert answer["metrics"] == [
        {
            "timestamp": iso(from_ms(now - 300_000)),
            "cpu": 32.5,
            "memory": 48.2,
            "disk": 50.0,
            "network": {"rx": 980.0, "tx": 490.0},
        },
        {
            "timestamp": iso(from_ms(now - 5_000)),
            "cpu": 36.2,
            "memory": None,
            "disk": None,
            "network": {"rx": None, "tx": None},
        },
    ]


@pytest.mark.parametrize("metric", ["cpu", "memory", "disk", "network"])
def test_one_metric_alone(cast: Cast, now: int, have: Callable[..., None], metric: str) -> None:
    have(cast.server, now - 5_000, cpu=1.0, memory=2.0, disk=3.0, net_rx=4.0)
    assert [set(moment) for moment in ask(cast, metric=metric)["metrics"]] == [{"timestamp", metric}]


def test_a_range_has_its_start_and_not_its_end(cast: Cast, now: int, have: Callable[..., None]) -> None:
    for at in (now - 30_000, now - 20_000, now - 10_000):
        have(cast.server, at, cpu=1.0)
    span = {"from": iso(from_ms(now - 30_000)), "to": iso(from_ms(now - 10_000))}
    answer = ask(cast, **span)
    assert [moment["timestamp"] for moment in answer["metrics"]] == [
        iso(from_ms(now - 30_000)),
        iso(from_ms(now - 20_000)),
    ]
    assert {name: answer[name] for name in span} == span


def test_a_long_range_is_means_over_a_step_and_bounded(cast: Cast, now: int) -> None:
    hour = now // 3_600_000 * 3_600_000 - 7_200_000
    frames = [Frame.of(cast.server.pk, hour + second * 1000, {"cpu": float(second % 60)}) for second in range(600)]
    record(frames, origin="test")
    answer = ask(cast, **{"from": iso(from_ms(hour - 86_400_000)), "to": iso(from_ms(hour + 600_000))})
    assert answer["step"] == 60
    assert [moment["cpu"] for moment in answer["metrics"]] == [29.5] * 10
    years = ask(cast, **{"from": "2001-01-01", "to": iso(from_ms(hour + 600_000))})
    assert years["step"] >= 86_400
    assert [moment["cpu"] for moment in years["metrics"]] == [29.5]


def test_many_samples_in_an_hour_are_gathered(cast: Cast, now: int) -> None:
    frames = [Frame.of(cast.server.pk, now - 3_000_000 + number * 1000, {"cpu": 7.0}) for number in range(2500)]
    record(frames, origin="test")
    answer = ask(cast)
    assert answer["step"] == 60
    assert {moment["cpu"] for moment in answer["metrics"]} == {7.0}


@pytest.mark.parametrize(
    "written",
    ["2026-01-01T12:00:00+09:00", "2026-01-01T12:00:00%2B09:00", "2026-01-01T03:00:00Z", "2026-01-01T03:00:00"],
)
def test_instants_are_read_as_people_write_them(cast: Cast, written: str) -> None:
    answer = sign_in(cast.reader).get(f"{PERFORMANCE}?serverId={cast.server.pk}&from={written}&to=2026-01-02")
    assert answer.json()["from"] == "2026-01-01T03:00:00.000Z"


@pytest.mark.parametrize(
    ("start", "end"), [("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"), ("9999-01-01", "9999-12-31")]
)
def test_the_ends_of_time_are_no_error(cast: Cast, start: str, end: str) -> None:
    assert (
        sign_in(cast.reader).get(f"{PERFORMANCE}?serverId={cast.server.pk}&from={quote(start)}&to={end}").status_code
        == 200
    )


def test_a_newer_sample_is_there_when_the_answer_is_asked_anew(
    cast: Cast, now: int, have: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from portal.toolkit.cache import cache

    assert ask(cast)["metrics"] == []
    have(cast.server, now, cpu=1.0)
    assert ask(cast)["metrics"] == []  # shared for a while
    later = datetime.now(UTC) + timedelta(seconds=2)
    monkeypatch.setattr(cache, "_clock", later.timestamp)
    assert len(ask(cast, refresh=1)["metrics"]) == 1
