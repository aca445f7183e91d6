"""Pages of history: the reader that walks to the next rows, and the API's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monitoring.exports.writing import write_due
from monitoring.history import horizon
from monitoring.history.compact import compact_due
from monitoring.history.frame import Frame, SeriesName, canonical_labels
from monitoring.history.late import merge_late
from monitoring.history.paging import page
from monitoring.history.partitions import HOUR_MS
from monitoring.history.read import read
from monitoring.history.record import record
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Metric, Server
from portal.toolkit.instants import from_ms
from tests.cast import Cast, make_cast, sign_in
from tests.monitoring.history.conftest import DAY_MS, empty_history

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

CPU, MEMORY = SeriesName("cpu"), SeriesName("memory")
NAMES = [CPU, MEMORY]
MOST_QUERIES = 14


@pytest.fixture
def past() -> int:
    """Midnight (UTC) three days ago, epoch ms: from here on, whole days can be sealed."""
    return (int(timezone.now().timestamp() * 1000) // DAY_MS - 3) * DAY_MS


def keep(server: Server, instants: list[int], metric: str = "cpu") -> None:
    record([Frame.of(server.pk, at, {metric: float(at % 997)}) for at in instants], origin="test")
    Batch.objects.update(evaluated_at=timezone.now())


def seal_until(at_ms: int) -> None:
    seal_due(from_ms(at_ms + horizon.GRACE_MS))


def walked(server: Server, start_ms: int, end_ms: int, *, backwards: bool, limit: int) -> list[tuple[int, ...]]:
    """All rows of the range, page by page, as (instant, values …) with None for a gap, in the order walked."""
    rows: list[tuple[int, ...]] = []
    while True:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            one = page(server.pk, NAMES, start_ms, end_ms, backwards=backwards, limit=limit)
        assert len(queries) <= MOST_QUERIES
        found = rows_of(one.at_ms, one.values)
        rows += reversed(found) if backwards else found
        if not one.is_more:
            return rows
        assert len(found) == limit
        start_ms, end_ms = (start_ms, int(one.at_ms[0])) if backwards else (int(one.at_ms[-1]) + 1, end_ms)


def rows_of(at_ms: Any, values: Any) -> list[tuple[int, ...]]:
    there = ~np.isnan(values).all(axis=0)
    columns = [[None if np.isnan(one) else one for one in row[there].tolist()] for row in values]
    return list(zip(at_ms[there].tolist(), *columns, strict=True))


def everything(server: Server, start_ms: int, end_ms: int) -> list[tuple[int, ...]]:
    tracks = read(server.pk, NAMES, start_ms, end_ms)
    return rows_of(tracks.at_ms, tracks.values)


def test_a_page_has_the_newest_rows_and_says_that_there_are_more(server: Server, past: int) -> None:
    keep(server, [past + step * 5000 for step in range(30)])
    one = page(server.pk, [CPU], past, past + DAY_MS, backwards=True, limit=10)
    assert one.at_ms.tolist() == [past + step * 5000 for step in range(20, 30)]
    assert one.is_more
    assert not page(server.pk, [CPU], past, past + DAY_MS, backwards=False, limit=30).is_more


def test_every_row_comes_once_through_warm_late_sealed_and_compacted_history(server: Server, past: int) -> None:
    keep(server, list(range(past, past + 3 * HOUR_MS, 60_000)))
    keep(server, list(range(past + 7, past + DAY_MS, 5 * HOUR_MS)), "memory")
    seal_until(past + DAY_MS)
    compact_due(from_ms(past + DAY_MS + horizon.GRACE_MS))
    keep(server, list(range(past + DAY_MS, past + DAY_MS + 5 * HOUR_MS, 120_000)))
    seal_until(past + DAY_MS + 3 * HOUR_MS)
    keep(server, [past + 10_000, past + DAY_MS + 10_000, past + 20 * HOUR_MS])
    expected = everything(server, past, past + 2 * DAY_MS)
    assert len(expected) > 300
    for limit in (7, 100):
        assert walked(server, past, past + 2 * DAY_MS, backwards=False, limit=limit) == expected
        assert walked(server, past, past + 2 * DAY_MS, backwards=True, limit=limit) == expected[::-1]


@pytest.mark.parametrize("backwards", [True, False])
def test_a_sparse_series_of_months_takes_no_more_queries_than_a_dense_one(
    server: Server, settings: Any, backwards: bool, django_assert_max_num_queries: Any
) -> None:
    settings.RETENTION_DAYS = 200
    first = (int(timezone.now().timestamp() * 1000) // DAY_MS - 150) * DAY_MS
    keep(server, [first + day * DAY_MS + 1234 for day in range(0, 140, 4)])
    seal_until(first + 145 * DAY_MS)
    with django_assert_max_num_queries(7):
        one = page(server.pk, [CPU], 0, first + 150 * DAY_MS, backwards=backwards, limit=30)
    assert (len(one.at_ms), one.is_more) == (30, True)


def test_a_cursor_stays_where_it_is_while_samples_arrive_and_are_sealed_and_merged(server: Server, past: int) -> None:
    keep(server, list(range(past, past + 2 * HOUR_MS, 30_000)))
    expected = everything(server, past, past + DAY_MS)[::-1]
    bound, seen = past + DAY_MS, []
    for number in range(10):
        one = page(server.pk, NAMES, past, bound, backwards=True, limit=30)
        seen += rows_of(one.at_ms, one.values)[::-1]
        bound = int(one.at_ms[0])
        keep(server, [past + 3 * HOUR_MS + number])
        if number in {2, 5}:
            seal_until(past + (1 if number == 2 else 4) * HOUR_MS)
        if number == 7:
            keep(server, [past + 119 * 60_000 + 1])  # newer than the cursor: of no later page
            merge_late()
        if not one.is_more:
            break
    assert seen == expected


def test_two_cuts_of_one_instant_are_one_row(server: Server, past: int) -> None:
    keep(server, [past])
    keep(server, [past], "memory")
    one = page(server.pk, NAMES, past, past + 1, backwards=True, limit=10)
    assert rows_of(one.at_ms, one.values) == [(past, past % 997, past % 997)]


def test_a_server_without_the_series_has_no_rows(server: Server, past: int) -> None:
    one = page(server.pk, [SeriesName("nothing")], past, past + DAY_MS, backwards=True, limit=10)
    assert (len(one.at_ms), one.is_more) == (0, False)


STEPS = st.lists(st.tuples(st.integers(0, 2879), st.sampled_from(["cpu", "memory"])), min_size=1, max_size=60)


@given(kept=STEPS, sealed_hours=st.integers(0, 47), late=STEPS, limit=st.integers(1, 20))
@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_pages_together_are_what_read_gives(
    server: Server, past: int, kept: Any, sealed_hours: int, late: Any, limit: int
) -> None:
    empty_history()
    for minute, metric in kept:
        keep(server, [past + minute * 60_000], metric)
    seal_until(past + sealed_hours * HOUR_MS)
    for minute, metric in late[:10]:
        keep(server, [past + minute * 60_000 + 1], metric)
    expected = everything(server, past, past + 2 * DAY_MS)
    assert walked(server, past, past + 2 * DAY_MS, backwards=True, limit=limit) == expected[::-1]
    assert walked(server, past, past + 2 * DAY_MS, backwards=False, limit=limit) == expected


# --- The API ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


def asked(cast: Cast, **query: Any) -> dict[str, Any]:
    answer = sign_in(cast.reader).get("/api/monitoring/history", {"serverId": cast.server.pk, **query})
    assert answer.status_code == 200, answer.content
    body: dict[str, Any] = answer.json()
    return body


def test_an_answer_has_columns_and_a_row_per_instant(cast: Cast, past: int) -> None:
    core = SeriesName("cpu_core", canonical_labels({"core": "0"}))
    record([Frame.of(cast.server.pk, past, {"cpu": 12.345678901234567, core: 3.0})], origin="test")
    record([Frame.of(cast.server.pk, past + 5, {"cpu": 1.0})], origin="test")
    body = asked(cast)
    assert body["series"] == [
        {"metric": "cpu", "labels": {}, "unit": "%", "counter": False},
        {"metric": "cpu_core", "labels": {"core": "0"}, "unit": "%", "counter": False},
    ]
    day = from_ms(past).date()
    assert body["rows"] == [
        {"timestamp": f"{day}T00:00:00.005Z", "values": [1.0, None]},
        {"timestamp": f"{day}T00:00:00.000Z", "values": [12.345678901234567, 3.0]},
    ]
    assert (body["next"], body["previous"], body["leftOut"]) == (None, None, 0)


@pytest.mark.parametrize("order", ["desc", "asc"])
def test_cursors_lead_through_all_pages_and_back(cast: Cast, past: int, order: str) -> None:
    keep(cast.server, list(range(past, past + 250 * 5000, 5000)))
    pages = [asked(cast, order=order)]
    while pages[-1]["next"]:
        pages.append(asked(cast, order=order, cursor=pages[-1]["next"]))
    assert [len(one["rows"]) for one in pages] == [100, 100, 50]
    stamps = [row["timestamp"] for one in pages for row in one["rows"]]
    assert stamps == sorted(set(stamps), reverse=order == "desc")
    back = asked(cast, order=order, cursor=pages[2]["previous"])
    assert back["rows"] == pages[1]["rows"]
    assert asked(cast, order=order, cursor=back["previous"])["rows"] == pages[0]["rows"]


def test_what_came_since_is_on_the_page_before(cast: Cast, past: int) -> None:
    keep(cast.server, list(range(past, past + 120 * 5000, 5000)))
    older = asked(cast, cursor=asked(cast)["next"])
    keep(cast.server, [past + DAY_MS])
    first = asked(cast, cursor=older["previous"])
    assert len(first["rows"]) == 100
    newest = asked(cast, cursor=first["previous"])
    assert [row["timestamp"] for row in newest["rows"]] == [f"{from_ms(past + DAY_MS):%FT%T}.000Z"]
    assert newest["previous"] is None


def test_range_metric_and_limit_narrow_it(cast: Cast, past: int) -> None:
    keep(cast.server, list(range(past, past + 20_000, 1000)))
    keep(cast.server, [past], "memory")
    body = asked(
        cast, metric="cpu", limit=5, **{"from": f"{from_ms(past):%FT%TZ}", "to": f"{from_ms(past + 8000):%FT%TZ}"}
    )
    assert [row["timestamp"][17:19] for row in body["rows"]] == ["07", "06", "05", "04", "03"]
    assert [one["metric"] for one in body["series"]] == ["cpu"]
    assert len(asked(cast, metric="cpu,memory")["series"]) == 2


def test_a_page_comes_as_csv_with_a_link_to_the_next(cast: Cast, past: int) -> None:
    keep(cast.server, [past, past + 1000])
    reader = sign_in(cast.reader)
    answer = reader.get("/api/monitoring/history", {"serverId": cast.server.pk, "format": "csv", "limit": 1})
    assert answer.content.decode().splitlines() == [
        "timestamp,cpu",
        f"{from_ms(past + 1000):%FT%T}.000Z,{(past + 1000) % 997:.1f}",
    ]
    following = answer.headers["Link"].partition(">")[0][1:]
    assert reader.get(following).content.decode().splitlines()[1].startswith(f"{from_ms(past):%FT%T}.000Z")


def test_a_counter_is_given_as_it_was_sent_and_marked(cast: Cast, past: int) -> None:
    record([Frame.of(cast.server.pk, past, {"requests_total": 1e15 + 1})], origin="test")
    Metric.objects.filter(name="requests_total").update(is_counter=True)
    body = asked(cast)
    assert (body["series"][0]["counter"], body["rows"][0]["values"]) == (True, [1e15 + 1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"cursor": "x"}, {"cursor": "b3h4"}, {"cursor": "é"}, {"limit": "0"}, {"limit": "1001"}, {"order": "up"},
        {"format": "xml"}, {"from": "yesterday"}, {"serverId": ""},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_words(cast: Cast, wrong: dict[str, str]) -> None:
    answer = sign_in(cast.reader).get("/api/monitoring/history", {"serverId": cast.server.pk, **wrong})
    assert (answer.status_code, set(answer.json()) >= {"error", "message", "timestamp"}) == (400, True)


@pytest.mark.parametrize("year", ["0001", "9999"])
def test_the_ends_of_time_are_a_range_like_any_other(cast: Cast, past: int, year: str) -> None:
    keep(cast.server, [past])
    ends = {"from": "0001-01-01T00:00:00+14:00", "to": f"{year}-12-31T23:59:59-12:00"}
    assert len(asked(cast, **ends)["rows"]) == (year == "9999")


def test_a_stranger_is_told_that_there_is_no_such_server(cast: Cast) -> None:
    answer = sign_in(cast.stranger).get("/api/monitoring/history", {"serverId": cast.server.pk})
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_a_page_of_the_api_costs_the_same_queries_however_many_series(
    cast: Cast, past: int, django_assert_max_num_queries: Any
) -> None:
    record([Frame.of(cast.server.pk, past, {f"metric_{number}": 1.0 for number in range(150)})], origin="test")
    reader = sign_in(cast.reader)
    with django_assert_max_num_queries(18):
        body = reader.get("/api/monitoring/history", {"serverId": cast.server.pk}).json()
    assert (len(body["series"]), body["leftOut"]) == (100, 50)


# --- The page ---------------------------------------------------------------------------------------------------------


def shown(cast: Cast, query: str = "", **headers: str) -> str:
    answer = sign_in(cast.reader).get(f"/servers/{cast.server.pk}/history/{query}", headers=headers)
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_page_shows_rows_with_units_and_exact_numbers(cast: Cast, past: int) -> None:
    record(
        [Frame.of(cast.server.pk, past, {"cpu": 12.3456789, "net_rx": 2048.0, "requests_total": 7.0})], origin="test"
    )
    Metric.objects.filter(name="requests_total").update(is_counter=True)
    html = shown(cast)
    assert '<td title="12.3456789">12.3%</td><td title="2048.0">2 MB/s</td><td title="7.0">7</td>' in html
    assert html.count('class="counter"') == 1


def test_a_script_gets_the_rows_alone(cast: Cast, past: int) -> None:
    keep(cast.server, list(range(past, past + 150 * 1000, 1000)))
    fragment = shown(cast, **{"HX-Request": "true"})
    assert (fragment.count("<tr>"), "<html" in fragment) == (100, False)
    older = fragment.partition('data-next="')[2].partition('"')[0]
    assert older.startswith(f"/servers/{cast.server.pk}/history/?cursor=")
    assert shown(cast, older.partition("history/")[2], **{"HX-Request": "true"}).count("<tr>") == 50


def test_the_filter_leads_to_the_next_page_with_it(cast: Cast, past: int) -> None:
    keep(cast.server, list(range(past, past + 150 * 1000, 1000)))
    day = from_ms(past)
    html = shown(cast, f"?metric=cpu&from={day:%F}T09:00:00&to={day:%F}T10:00:00&zone=Asia/Seoul")
    assert f"?metric=cpu&amp;from={day:%F}T00%3A00%3A00Z&amp;to={day:%F}T01%3A00%3A00Z&amp;cursor=" in html
    assert f'name="from" step="1" value="{day:%F}T09:00:00"' in html


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "No samples yet"),
        ("?metric=cpu&range=1h", "No samples in this range"),
        ("?metric=%3Cb%3E", "This server has no metric “&lt;b&gt;”."),
        ("?cursor=nonsense&from=yesterday&range=9y&zone=Moon", "tbody"),
    ],
)
def test_an_empty_page_says_why_in_words(cast: Cast, past: int, query: str, words: str) -> None:
    if query:
        keep(cast.server, [past])
    assert words in shown(cast, query)


def test_the_page_costs_the_same_queries_for_many_series_and_rows(
    cast: Cast, past: int, django_assert_max_num_queries: Any
) -> None:
    for step in range(120):
        record([Frame.of(cast.server.pk, past + step, {f"m_{n}": 1.0 for n in range(70)})], origin="test")
    reader = sign_in(cast.reader)
    reader.get(f"/servers/{cast.server.pk}/history/")
    with django_assert_max_num_queries(18):
        reader.get(f"/servers/{cast.server.pk}/history/")


def test_an_export_asked_for_on_the_page_shows_how_far_it_is(cast: Cast, past: int) -> None:
    keep(cast.server, list(range(past, past + 5000, 1000)))
    reader = sign_in(cast.reader)
    where = f"/servers/{cast.server.pk}/exports/"
    fragment = reader.post(where, {"format": "csv", "metric": "cpu"}, headers={"HX-Request": "true"}).content.decode()
    assert 'hx-trigger="every 1s"' in fragment
    write_due(timezone.now())
    done = reader.get(fragment.partition('hx-get="')[2].partition('"')[0]).content.decode()
    assert "5 rows" in done
    assert "hx-trigger" not in done
    assert done.partition("<li")[2] in shown(cast)
    refused = reader.post(where, {"metric": "nothing"}, headers={"HX-Request": "true"}).content.decode()
    assert "has no metric “nothing”" in refused
