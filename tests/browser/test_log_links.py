"""From charts to lines and back, and lines as a file, in a real browser."""

from __future__ import annotations

import csv
import re

import pytest
from playwright.sync_api import Page, expect

from portal.embedded.running import RunningPortal
from tests.browser.limits import server_id

AROUND = re.compile(r"/logs/\?server=\d+&from=[^&]+Z&to=[^&]+Z$")


@pytest.fixture
def charts(portal: RunningPortal, page: Page) -> Page:
    page.goto(f"{portal.url}/servers/{server_id(portal, 'sim-web-03')}/")
    expect(page.locator("#panel-cpu .u-over")).to_be_visible()
    return page


def test_a_click_on_a_spike_leads_to_the_lines_of_that_time(charts: Page) -> None:
    over = charts.locator("#panel-cpu .u-over")
    box = over.bounding_box()
    assert box is not None
    charts.mouse.click(box["x"] + box["width"] - 30, box["y"] + 40)
    link = charts.locator("#panel-cpu .plot-logs")
    expect(link).to_have_text(re.compile(r"^Logs at .*\d\d:\d\d$"))

    link.click()

    expect(charts).to_have_url(AROUND)
    expect(charts.locator("#logs")).to_be_visible()


def test_keys_lead_there_too(charts: Page) -> None:
    plot = charts.locator("#panel-cpu .plot")
    plot.focus()
    plot.press("End")
    plot.press("Enter")
    expect(charts.locator("#panel-cpu .plot-logs")).to_be_focused()

    charts.keyboard.press("Enter")

    expect(charts).to_have_url(AROUND)


def test_what_is_zoomed_to_is_the_time_of_the_lines(charts: Page) -> None:
    link = charts.locator("#logs-link")
    expect(link).to_have_attribute("href", re.compile(r"&from=[^&]+Z$"))
    charts.goto(charts.url.split("?")[0] + "?from=2026-01-01T00:00:00Z&to=2026-01-01T01:00:00Z")

    expect(link).to_have_attribute("href", re.compile(r"&from=2026-01-01T00%3A00%3A00.000Z&to=2026-01-01T01%3A00%3A00"))
    expect(charts.locator("#panel-cpu .plot")).to_have_attribute("data-says", "No samples in this range.")


def test_lines_are_had_as_a_file(portal: RunningPortal, page: Page) -> None:
    page.goto(f"{portal.url}/logs/?range=1h&level=error&level=warning")
    page.get_by_role("button", name="Export CSV").click()
    ready = page.locator("#exports .export.is-done")
    expect(ready).to_be_visible(timeout=60_000)

    with page.expect_download() as download:
        ready.get_by_role("link", name="Download").click()

    with open(download.value.path(), newline="") as file:
        head, *rows = csv.reader(file)
    assert head[:4] == ["timestamp", "level", "server", "source"]
    assert {row[1] for row in rows} <= {"error", "warning"}
    assert rows
