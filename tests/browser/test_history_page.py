"""The history page in a real browser: rows without end, a document that stays small, exports to a file."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from portal.embedded.running import RunningPortal
from portal.system.bench._inside import inside
from tests.browser.limits import server_id
from tests.browser.test_pages import found_by_axe

pytestmark = pytest.mark.slow

PAGES, PAGE_ROWS, EVERY_S = 16, 100, 20
SLOW_MS = 30_000
"""For an answer of a busy machine."""
MOST_IN_DOCUMENT = 14
"""Five pages at each end, and those in view with what is ready around them."""

_KEPT = "[[int(at) for at in tracks.at_ms] for tracks in [read({pk}, [SeriesName('cpu')], 0, 4 * 10**12)]][0]"
_ROWS = """[...document.querySelectorAll('#rows tbody th time')].map((time) => Date.parse(time.dateTime))"""


@pytest.fixture(scope="module")
def server(portal: RunningPortal) -> int:
    """A server with sixteen pages of rows, one of its metrics a counter."""
    host, newest = f"history-{time.time_ns()}", time.time() - 600
    frames = [
        {
            "at": round(newest - number * EVERY_S, 3),
            "metrics": {"cpu": number, "requests_total": 1_000_000 + number, 'disk_used_share{mount="/data"}': 2.5},
        }
        for number in range(PAGES * PAGE_ROWS)
    ]
    answer = httpx.post(
        f"{portal.url}/api/push",
        json={"host": host, "frames": frames},
        headers={"Authorization": f"Bearer {portal.demo['push_token']}"},
        timeout=30,
    )
    assert answer.json()["kept"] == 3 * len(frames), answer.text
    inside(portal, "Metric.objects.filter(name='requests_total').update(is_counter=True)")
    return server_id(portal, host)


@pytest.fixture
def history(portal: RunningPortal, page: Page, server: int) -> Page:
    page.goto(f"{portal.url}/servers/{server}/history/")
    expect(page.locator("#rows tbody tr").first).to_be_visible()
    return page


def rows(page: Page) -> list[int]:
    """The instants of the rows that are in the document, in their order."""
    found: list[int] = page.evaluate(_ROWS)
    return found


def scroll(page: Page, *, down: bool) -> None:
    page.evaluate("(by) => document.getElementById('rows').scrollBy(0, by)", 600 if down else -600)
    page.wait_for_timeout(40)  # a hand is slower
    expect(page.locator("#rows:not([aria-busy])")).to_be_attached(timeout=SLOW_MS)


def position(page: Page) -> tuple[float, float]:
    """From the start, and to the end."""
    box: dict[str, float] = page.evaluate(
        """() => {
          const { scrollTop, scrollHeight, clientHeight } = document.getElementById('rows');
          return { top: scrollTop, left: scrollHeight - clientHeight - scrollTop };
        }"""
    )
    return box["top"], box["left"]


def in_view(page: Page) -> list[int]:
    found: list[int] = page.evaluate(
        """() => {
          const head = document.querySelector('#rows thead th').getBoundingClientRect();
          const bottom = document.getElementById('rows').getBoundingClientRect().bottom;
          const isInView = (box) => box.bottom > head.bottom && box.top < bottom;
          return [...document.querySelectorAll('#rows tbody th')]
            .filter((th) => isInView(th.getBoundingClientRect()))
            .map((th) => Date.parse(th.querySelector('time').dateTime));
        }"""
    )
    return found


def test_all_pages_down_and_back_without_a_hole_a_double_or_a_growing_document(
    history: Page, portal: RunningPortal, server: int
) -> None:
    kept = inside(portal, _KEPT.format(pk=server))[::-1]
    assert len(kept) == PAGES * PAGE_ROWS
    seen: list[int] = []
    for down in (True, False):
        met: dict[int, None] = {}
        for _ in range(200):
            visible = in_view(history)
            assert visible, "what is in view is never empty"
            met |= dict.fromkeys(visible)
            document = rows(history)
            assert len(document) == len(set(document)) <= MOST_IN_DOCUMENT * PAGE_ROWS
            assert document == sorted(document, reverse=True)
            if position(history)[down] < 2:
                break
            scroll(history, down=down)
        seen = list(met)
        assert sorted(seen, reverse=True) == kept
    assert history.locator("#rows [data-page]").count() == PAGES
    assert len(rows(history)) < PAGES * PAGE_ROWS


def test_reload_and_back_come_to_the_same_row(history: Page) -> None:
    for _ in range(7):
        scroll(history, down=True)
    before = in_view(history)
    history.wait_for_url("**cursor=**")
    history.wait_for_timeout(400)
    history.reload()
    expect(history.locator("#rows:not([aria-busy])")).to_be_attached(timeout=SLOW_MS)
    history.wait_for_timeout(300)
    assert in_view(history) == before
    assert rows(history)[0] > before[0], "newer pages are above"


def test_rows_that_cannot_be_read_are_tried_again(history: Page) -> None:
    history.route("**/history/?*cursor*", lambda route: route.abort("connectionrefused"))
    for _ in range(5):
        scroll(history, down=True)
    expect(history.locator("#rows-status")).to_contain_text("could not be read")
    history.unroute("**/history/?*cursor*")
    history.locator("#rows-status button").click()
    expect(history.locator("#rows [data-page]")).not_to_have_count(1)
    expect(history.locator("#rows-status button")).to_be_hidden()


def test_filters_are_in_the_address(history: Page, portal: RunningPortal) -> None:
    history.select_option("#filter-metric", "requests_total")
    history.wait_for_url("**metric=requests_total")
    expect(history.locator("#rows thead .counter")).to_have_count(1)
    history.select_option("#time-range", "1h")
    history.wait_for_url("**range=1h")
    expect(history.locator("#rows tbody tr").first).to_be_visible()
    history.go_back()
    expect(history.locator("#time-range")).to_have_value("")


def test_times_are_typed_in_the_persons_zone(history: Page) -> None:
    newest = rows(history)[0]
    said = "(ms) => new Date(ms + 9 * 3600e3).toISOString().slice(0, 19)"  # the browser is in Seoul
    history.select_option("#time-range", "custom")
    history.fill("input[name=from]", history.evaluate(said, newest // 1000 * 1000 - 59_000))
    history.locator("#time-custom button").click()
    history.wait_for_url("**zone=Asia%2FSeoul**")
    assert rows(history) == [newest, newest - 1000 * EVERY_S, newest - 2 * 1000 * EVERY_S]


def test_an_export_is_asked_for_followed_and_fetched_with_the_keyboard(
    history: Page, portal: RunningPortal, server: int, tmp_path: Path
) -> None:
    history.get_by_role("button", name="Export CSV").focus()
    history.keyboard.press("Enter")
    expect(history.locator(".export").first).to_be_visible()
    expect(history.locator("#exports")).to_have_attribute("aria-live", "polite")
    link: Locator = history.locator(".export.is-done").first.get_by_role("link", name="Download")
    expect(link).to_be_visible(timeout=SLOW_MS)
    with history.expect_download() as download:
        link.focus()
        history.keyboard.press("Enter")
    file: Any = tmp_path / "history.csv"
    download.value.save_as(file)
    assert download.value.suggested_filename.startswith("history-")
    head, *lines = csv.reader(file.read_text().splitlines())
    assert head == ["timestamp", "cpu", 'disk_used_share{mount="/data"}', "requests_total"]
    exact = inside(
        portal,
        f"[[float(v) for v in read({server}, [SeriesName('cpu')], 0, 4 * 10**12).values[0] if v == v]][0]",
    )
    assert [float(line[1]) for line in lines] == exact


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(history: Page, scheme: str) -> None:
    history.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    assert found_by_axe(history) == []


def test_it_fits_a_phone_and_works_without_script(
    signed_in: BrowserContext, chromium: Browser, portal: RunningPortal, server: int
) -> None:
    context = chromium.new_context(
        viewport={"width": 360, "height": 740}, storage_state=signed_in.storage_state(), java_script_enabled=False
    )
    phone = context.new_page()
    phone.goto(f"{portal.url}/servers/{server}/history/")
    phone.get_by_role("link", name="Older").click()
    expect(phone.locator("#rows tbody tr")).to_have_count(PAGE_ROWS)
    phone.get_by_label("From").fill("2026-01-02T03:04:05")
    phone.get_by_role("button", name="Show").click()
    expect(phone.get_by_label("From")).to_have_value("2026-01-02T03:04:05")
    context.close()
    context = chromium.new_context(viewport={"width": 360, "height": 740}, storage_state=signed_in.storage_state())
    phone = context.new_page()
    phone.goto(f"{portal.url}/servers/{server}/history/")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
