"""Scraping real endpoints: good ones, broken ones, and Debian's node_exporter."""

from __future__ import annotations

import gzip
import math
import time
from typing import Any

import psutil
import pytest

from monitoring.collectors import prometheus
from monitoring.collectors.base import Collected, CollectError
from monitoring.history.frame import SeriesName
from monitoring.models import Source
from portal.toolkit.sentence import say
from tests.toolkit.server import Answer, Server, page, raw, serving

pytestmark = pytest.mark.usefixtures("empty_redis", "loopback_is_allowed")

LOADS = "node_load1 0.5\nnode_load5 0.25\n"


def scrape(url: str, at_s: float = 1000, **fields: Any) -> Collected:
    return prometheus.collect(Source(pk=1, url=url, timeout_s=2, **fields), int(at_s * 1000))


def scrape_of(answer: Answer, **fields: Any) -> Collected:
    with serving(answer) as server:
        return scrape(server.url, **fields)


def error_of(answer: Answer, **fields: Any) -> str:
    with pytest.raises(CollectError) as caught:
        scrape_of(answer, **fields)
    return str(caught.value)


def test_it_keeps_what_the_catalogue_knows() -> None:
    collected = scrape_of(page(LOADS + "other_thing 7\n"))
    assert collected == Collected({SeriesName("load1"): 0.5, SeriesName("load5"): 0.25}, 3)


def test_it_keeps_everything_when_told() -> None:
    text = '# TYPE jobs counter\n# TYPE depth gauge\njobs_total{queue="a"} %d\ndepth 4\ncpu 9\nnode_load1 0.5\n'
    jobs = iter((100, 150))
    with serving(lambda connection: page(text % next(jobs))(connection)) as server:
        scrape(server.url, 1000, keep_everything=True)
        values = scrape(server.url, 1010, keep_everything=True).values
    assert values == {
        SeriesName("load1"): 0.5,
        SeriesName("jobs_total", '{"queue":"a"}'): 5.0,
        SeriesName("depth"): 4.0,
        SeriesName("exported_cpu"): 9.0,
    }


def test_a_counter_of_a_first_run_is_a_gap() -> None:
    values = scrape_of(page("jobs_total 5\n"), keep_everything=True).values
    assert math.isnan(values[SeriesName("jobs_total")])


def test_the_counters_of_another_address_are_another_machines() -> None:
    """A source whose URL was changed keeps its id."""
    with serving(page("jobs_total 5\n")) as one, serving(page("jobs_total 1000005\n")) as other:
        scrape(one.url, 1000, keep_everything=True)
        values = scrape(other.url, 1010, keep_everything=True).values
    assert math.isnan(values[SeriesName("jobs_total")])


def test_nan_and_infinity_are_passed_on_as_they_are() -> None:
    values = scrape_of(page("a NaN\nb +Inf\nc -0\n"), keep_everything=True).values
    assert math.isnan(values[SeriesName("a")])
    assert (values[SeriesName("b")], values[SeriesName("c")]) == (math.inf, 0.0)


def test_a_series_given_twice_is_kept_once_and_named() -> None:
    collected = scrape_of(page('a{x="1"} 1\na{x="1"} 2\n'), keep_everything=True)
    assert collected.values == {SeriesName("a", '{"x":"1"}'): 1.0}
    assert say(collected.complaint) == 'Line 2 could not be used: “a{"x":"1"}”.'


def test_labels_too_long_for_an_index_are_named() -> None:
    collected = scrape_of(page(f'a{{x="{"가" * 700}"}} 1\nb 2\n'), keep_everything=True)
    assert list(collected.values) == [SeriesName("b")]
    assert "Line 1 could not be used" in say(collected.complaint)


@pytest.mark.parametrize("body", ["<!DOCTYPE html>\n<html>", "\n  <html><body>node_load1 1\n"])
def test_a_web_page_is_said_to_be_one(body: str) -> None:
    words = error_of(page(body, "text/html"))
    assert words.startswith("the answer is a web page (HTML), not metrics: line 1 is “<")


def test_json_is_said_not_to_be_metrics() -> None:
    words = error_of(page('{"status": "ok"}', "application/json"))
    assert words == 'the answer is not metrics. Line 1 could not be used: “{"status": "ok"}”.'


@pytest.mark.parametrize("body", ["", "# only a remark\n", "\n\n"])
def test_an_answer_without_samples_says_so(body: str) -> None:
    assert error_of(page(body)) == "the answer holds no metrics"


def test_samples_that_the_catalogue_does_not_know_ask_for_the_switch() -> None:
    assert error_of(page("a 1\nb 2\n")).startswith(
        "none of the 2 samples is known to the catalogue; “keep every series”"
    )


def test_an_error_status_is_named() -> None:
    assert error_of(raw(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")) == "the answer has the status 401"


def test_a_redirect_says_where_it_points() -> None:
    answer = raw(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n")
    assert error_of(answer) == "it redirects to http://169.254.169.254/, which is not followed"


def test_more_samples_than_the_limit_are_refused_whole() -> None:
    assert error_of(page(LOADS * 10), sample_limit=19) == (
        "the answer has more than 19 samples, the limit of this source"
    )


def test_a_body_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MAX_BYTES", 1_000_000)

    def for_ever(connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"# a remark that goes on and on\n" * 1000)

    assert error_of(for_ever) == "the answer is larger than 1 MB"


def test_a_gzip_bomb_is_refused() -> None:
    bomb = gzip.compress(b"#" * 20_000_000)
    assert error_of(page(bomb, "text/plain", "Content-Encoding: gzip")) == "the answer is larger than 16 MB"


def test_bad_lines_are_named_and_the_good_ones_kept() -> None:
    collected = scrape_of(page("node_load1 0.5\nnode_load5 abc\n"))
    assert collected.values == {SeriesName("load1"): 0.5}
    assert say(collected.complaint) == "Line 2 could not be used: “node_load5 abc”."


def test_an_answer_that_is_cut_off_loses_only_its_last_line() -> None:
    collected = scrape_of(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\nnode_load1 0.5\nnode_load5 0.2"))
    assert collected.values == {SeriesName("load1"): 0.5}
    assert say(collected.complaint).startswith("The answer was cut off. Line 2 could not be used")


def test_openmetrics_without_its_end_is_cut_off() -> None:
    kind = "application/openmetrics-text; version=1.0.0"
    assert say(scrape_of(page(LOADS, kind)).complaint) == "The answer was cut off."
    assert scrape_of(page(LOADS + "# EOF\n", kind)).complaint == ""


def test_bytes_that_are_no_utf8_do_not_stop_the_rest() -> None:
    values = scrape_of(page(b'a{x="\xff\x00"} 1\nnode_load1 0.5\n'), keep_everything=True).values
    assert values[SeriesName("load1")] == 0.5
    assert SeriesName("a", '{"x":"\ufffd\\u0000"}') in values


def test_it_asks_for_the_text_format() -> None:
    server: Server
    with serving(page(LOADS)) as server:
        scrape(server.url)
    assert "Accept: text/plain;version=0.0.4," in server.requests[0]


# --- node_exporter ----------------------------------------------------------------------------------------------------
def test_a_real_node_exporter_shows_cpu_memory_disk_and_network(node_exporter: str) -> None:
    scrape(node_exporter, time.time())
    time.sleep(1.0)
    collected = scrape(node_exporter, time.time())
    values = {name.metric: value for name, value in collected.values.items() if not name.labels}
    for metric in ("cpu", "memory", "disk", "net_rx", "net_tx", "load1", "uptime", "connections"):
        assert math.isfinite(values[metric]), metric
    assert values["cpu_cores"] == psutil.cpu_count()
    assert values["memory_total"] == pytest.approx(psutil.virtual_memory().total / 1024**2, abs=1)
    assert values["memory"] == pytest.approx(psutil.virtual_memory().percent, abs=10)
    assert values["uptime"] == pytest.approx(time.time() - psutil.boot_time(), abs=5)
    assert 0 <= values["cpu"] <= 100
    assert 0 < values["disk"] <= 100
    assert collected.complaint == ""


def test_all_of_a_real_node_exporter_can_be_kept(node_exporter: str) -> None:
    collected = scrape(node_exporter, time.time(), keep_everything=True)
    assert len(collected.values) > 300
    assert SeriesName("node_uname_info") in {SeriesName(name.metric) for name in collected.values}
    assert collected.complaint == ""
