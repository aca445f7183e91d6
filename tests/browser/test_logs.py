"""The page of logs in a real browser: a list without end while lines arrive, the tail, filters, the way back."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from portal.embedded.running import RunningPortal
from portal.system.bench._inside import inside
from tests.browser.limits import server_id
from tests.browser.test_pages import found_by_axe

pytestmark = pytest.mark.slow

SLOW_MS = 30_000
"""For an answer of a busy machine."""
PAGES, PAGE_LINES = 32, 50
LEVELS = ("debug", "info", "warning", "error")
KEPT_PAGES = 10
"""With lines, wherever somebody reads: five at each end."""
MOST_PAGES_WITH_LINES = 16
"""Five at each end, those in view with what is ready around them, and a page that is being worked on."""
RATE, PACE_S, LONGEST_S = 100, 0.2, 30
MOST_STEPS = 300
NEAR_TOP_PX = 600
"""So near to it the list may go on by itself, at its top."""

_KEPT = """
[[str(line.position) for line in __import__('monitoring.logs.search', fromlist=['search']).search(
    __import__('monitoring.logs.ask', fromlist=['Ask']).Ask(servers=frozenset([{server}])), servers=None,
    limit=100_000, deadline_s=30).lines]][0]
"""
_IN_VIEW = """() => {
  const view = document.getElementById('log-rows').getBoundingClientRect();
  return [...document.querySelectorAll('.log-page > .log-line')]
    .map((line) => [line, line.getBoundingClientRect()])
    .filter(([, box]) => box.bottom > view.top && box.top < view.bottom)
    .map(([line]) => line.dataset.position);
}"""
_IN_DOCUMENT = "() => [...document.querySelectorAll('.log-page > .log-line')].map((line) => line.dataset.position)"
_WITH_LINES = "() => document.querySelectorAll('#log-rows [data-page]:has(.log-line)').length"
_ARE_IN_DOCUMENT = "(positions) => positions.every((position) => document.getElementById(`line-${position}`))"
_PLACE = """({position, top}) => {
  const list = document.getElementById('log-rows');
  if (top !== null) list.scrollTop = top;
  const line = document.getElementById(`line-${position}`);
  return {
    top: list.scrollTop,
    line: line && line.getBoundingClientRect().top - list.getBoundingClientRect().top,
  };
}"""
_IS_BELOW_OTHERS = "(position) => document.querySelector('.log-page > .log-line').dataset.position !== position"
_TOLD_AND_ABOVE = """(position) => [
  document.getElementById('log-new').innerText,
  [...document.querySelectorAll('.log-page > .log-line')].findIndex((line) => line.dataset.position === position),
]"""
_SCROLL = """(by) => new Promise((scrolled) => {
  document.getElementById('log-rows').scrollBy(0, by);
  requestAnimationFrame(() => requestAnimationFrame(scrolled));
})"""


def write(
    portal: RunningPortal, host: str, count: int, *, text: str = "line", ago_s: float = 0, step_ns: int = 1_000
) -> None:
    """So many lines as a sender of Loki's protocol sends them, each `step_ns` older than the one before.

    Their levels and sources take turns; each has fields.
    """
    first = time.time_ns() - int(ago_s * 1e9)
    streams: dict[str, list[list[Any]]] = {"app": [], "db": []}
    for number in range(count):
        said = f"{text} {number}{' 주문 지연' if number % 7 == 0 else ''}"
        fields = {"level": LEVELS[number % 4], "order": f"o-{number % 5}", "request": f"r-{number}"}
        streams["app" if number % 3 else "db"].append([str(first - number * step_ns), said, fields])
    body = {"streams": [{"stream": {"host": host, "source": name}, "values": v} for name, v in streams.items() if v]}
    answer = httpx.post(
        f"{portal.url}/loki/api/v1/push",
        json=body,
        headers={"Authorization": f"Bearer {portal.demo['push_token']}"},
        timeout=30,
    )
    assert answer.status_code == 204, answer.text


def kept(portal: RunningPortal, host: Host) -> list[str]:
    """The positions of all lines of the server, newest first."""
    found: list[str] = inside(portal, _KEPT.format(server=host.pk).replace("\n", " ").strip())
    return found


class Host(NamedTuple):
    name: str
    pk: int


class Place(NamedTuple):
    """How far the list is scrolled, and where in its view a line stands; None: it is not in the document."""

    top: float
    line: float | None


def new_host(portal: RunningPortal, count: int = 0, **said: Any) -> Host:
    """A server with so many lines; a host is a server's once it has sent something."""
    name = f"logs-{time.time_ns()}"
    write(portal, name, max(count, 1), **({"ago_s": 3_000} if not count else said))
    return Host(name, server_id(portal, name))


@pytest.fixture(scope="module")
def host(portal: RunningPortal) -> Host:
    """A server with 32 pages of lines, the newest ten minutes old."""
    return new_host(portal, PAGES * PAGE_LINES, ago_s=600, step_ns=500_000_000)


@contextmanager
def arriving(portal: RunningPortal, host: Host) -> Iterator[None]:
    """A hundred lines a second come, from senders whose clocks differ by up to a second."""
    ended = threading.Event()

    def write_on() -> None:
        for number in range(int(LONGEST_S / PACE_S)):
            if ended.is_set():
                return
            write(portal, host.name, int(RATE * PACE_S), text=f"new {number}", ago_s=number % 5 / 5, step_ns=7_000_000)
            ended.wait(PACE_S)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def opened(page: Page, portal: RunningPortal, query: str) -> Page:
    page.goto(f"{portal.url}/logs/?{query}")
    expect(page.locator("#log-chart:not(.is-loading)")).to_be_visible(timeout=SLOW_MS)
    return page


def texts(page: Page) -> list[str]:
    return page.locator(".log-page > .log-line .log-text").all_inner_texts()


def scroll(page: Page, by: int) -> None:
    page.evaluate(_SCROLL, by)  # until the page has seen it
    page.wait_for_timeout(40)  # a hand is slower
    expect(page.locator("#log-rows:not([aria-busy])")).to_be_attached(timeout=SLOW_MS)


def in_view(page: Page) -> list[str]:
    found: list[str] = page.evaluate(_IN_VIEW)
    return found


def in_document(page: Page) -> list[str]:
    found: list[str] = page.evaluate(_IN_DOCUMENT)
    return found


def place_of(page: Page, position: str, *, top: float | None = None) -> Place:
    """In one look; `top`: after the list was scrolled to it."""
    return Place(**page.evaluate(_PLACE, {"position": position, "top": top}))


def is_following(page: Page) -> bool:
    """Scrolled down by nobody, it stays so."""
    return page.locator("#log-live").get_attribute("aria-pressed") == "true"


def newest_first(positions: list[str]) -> list[str]:
    return sorted(positions, key=lambda said: tuple(map(int, said.split("-"))), reverse=True)


# --- The list ---------------------------------------------------------------------------------------------------------
def test_thirty_pages_down_and_back_while_lines_arrive(page: Page, portal: RunningPortal, host: Host) -> None:
    opened(page, portal, f"server={host.pk}")
    met: dict[str, None] = {}

    def look_and_scroll(by: int) -> None:
        visible = in_view(page)
        assert visible, "what is in view is never empty"
        met.update(dict.fromkeys(visible))
        document = in_document(page)
        assert len(document) == len(set(document))
        assert document == newest_first(document)
        assert page.evaluate(_WITH_LINES) <= MOST_PAGES_WITH_LINES
        anchor = visible[len(visible) // 2]
        before = place_of(page, anchor)
        page.wait_for_timeout(60)
        after = place_of(page, anchor)
        if min(before.top, after.top) > NEAR_TOP_PX:
            assert before.line is not None
            assert before.line == after.line, "nothing moves under the reader's eyes"
        scroll(page, by)

    with arriving(portal, host):
        for _ in range(MOST_STEPS):
            look_and_scroll(900)
            if page.locator("#log-rows [data-page]").count() > 30:
                break
        expect(page.locator("#log-new")).to_contain_text("new line", timeout=SLOW_MS)
        for _ in range(MOST_STEPS):
            look_and_scroll(-900)
            if is_following(page):
                break
    expect(page.locator("#log-live")).to_have_attribute("aria-pressed", "true")
    everything = kept(portal, host)
    assert set(met) <= set(everything)
    # Down once more: what the list has is what is kept, without a hole.
    page.wait_for_function(_ARE_IN_DOCUMENT, arg=everything[:RATE], timeout=SLOW_MS)
    listed: dict[str, None] = {}
    while everything[-1] not in listed:
        listed |= dict.fromkeys(in_document(page))
        scroll(page, 1_600)
    assert newest_first(list(listed)) == everything


def test_two_hundred_pages_leave_document_and_heap_flat(page: Page, portal: RunningPortal) -> None:
    big = new_host(portal, 200 * PAGE_LINES + 200, ago_s=60, step_ns=100_000_000)
    opened(page, portal, f"server={big.pk}")
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")

    def measured() -> tuple[float, int]:
        session.send("HeapProfiler.collectGarbage")
        heap = session.send("Runtime.getHeapUsage")["usedSize"]
        return heap, page.evaluate("document.querySelectorAll('*').length")

    sizes: dict[int, tuple[float, int]] = {}
    for pages in (20, 200):
        while page.locator("#log-rows [data-page]").count() < pages:
            scroll(page, 5_000)
        page.wait_for_function(f"({_WITH_LINES})() === {KEPT_PAGES}", timeout=SLOW_MS)
        sizes[pages] = measured()
    (heap_before, nodes_before), (heap, nodes) = sizes[20], sizes[200]
    assert nodes < nodes_before + 190 + 300, "an empty element for each page, and no more"
    assert heap < 1.25 * heap_before + 1_500_000


# --- The tail ---------------------------------------------------------------------------------------------------------
def test_lines_appear_pause_and_come_back(page: Page, portal: RunningPortal) -> None:
    quiet = new_host(portal)
    opened(page, portal, f"server={quiet.pk}&q=here")
    expect(page.locator("#log-empty")).to_be_visible()
    write(portal, quiet.name, 1, text="here")
    expect(page.locator(".log-text")).to_have_text(["here 0 주문 지연"], timeout=SLOW_MS)
    expect(page.locator("#log-empty")).to_have_count(0)

    page.keyboard.press("p")
    expect(page.locator("#log-live")).to_have_attribute("aria-pressed", "false")
    write(portal, quiet.name, 142, text="here again")
    expect(page.locator("#log-new")).to_have_text("142 new lines", timeout=SLOW_MS)
    assert texts(page) == ["here 0 주문 지연"]

    page.locator("#log-new").click()
    expect(page.locator("#log-live")).to_have_attribute("aria-pressed", "true", timeout=SLOW_MS)
    expect(page.locator(".log-text").first).to_contain_text("again", timeout=SLOW_MS)
    page.locator("#log-live").click()
    expect(page.locator("#log-live")).to_have_attribute("aria-pressed", "false")


def test_a_line_that_comes_late_stands_in_its_place(page: Page, portal: RunningPortal) -> None:
    some = new_host(portal, 120, ago_s=60, step_ns=1_000_000_000)
    opened(page, portal, f"server={some.pk}")
    scroll(page, 400)
    expect(page.locator("#log-live")).to_have_attribute("aria-pressed", "false")
    before = in_view(page)
    write(portal, some.name, 1, text="late", ago_s=62.5)
    late = page.locator(".log-line", has_text=re.compile("^.*late 0"))
    expect(late).to_have_count(1, timeout=SLOW_MS)
    assert in_view(page) == before
    document = in_document(page)
    assert document == newest_first(document)


def test_who_comes_to_the_top_below_many_new_lines_reads_on_page_by_page(page: Page, portal: RunningPortal) -> None:
    many = 400
    some = new_host(portal, 6 * PAGE_LINES, ago_s=60, step_ns=1_000_000)
    opened(page, portal, f"server={some.pk}")
    for _ in range(3):
        scroll(page, 900)
    first = in_document(page)[0]
    write(portal, some.name, many, text="many")
    expect(page.locator("#log-new")).to_have_text(f"{many} new lines", timeout=SLOW_MS)

    before = place_of(page, first, top=0)
    page.wait_for_function(_IS_BELOW_OTHERS, arg=first, timeout=SLOW_MS)
    page.wait_for_timeout(1_000)  # for what must not happen
    after = place_of(page, first)
    assert before.line is not None
    assert before.line == after.line, "nothing moves under the reader's eyes"
    assert after.top > before.top == 0
    assert not is_following(page)
    told, above = page.evaluate(_TOLD_AND_ABOVE, first)
    assert told == f"{many - above} new lines"

    listed = dict.fromkeys(in_document(page))
    for _ in range(MOST_STEPS):
        scroll(page, -300)
        listed |= dict.fromkeys(in_document(page))
        if is_following(page):
            break
    expect(page.locator("#log-live")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#log-new")).to_be_hidden()
    newest = kept(portal, some)[: many + 1]
    assert newest[-1] == first
    assert set(newest) <= set(listed), "no line is left out"
    write(portal, some.name, 1, text="and on")
    expect(page.locator(".log-page .log-text").first).to_contain_text("and on", timeout=SLOW_MS)


# --- Filters ----------------------------------------------------------------------------------------------------------
def test_filters_alone_and_together_are_in_the_address(page: Page, portal: RunningPortal, host: Host) -> None:
    opened(page, portal, f"server={host.pk}")
    page.locator("#level-error").click()
    page.wait_for_url("**level=error**")
    expect(page.locator("#level-error")).to_have_attribute("aria-current", "true")
    assert set(page.locator(".log-line").evaluate_all("(lines) => lines.map((line) => line.dataset.level)")) == {
        "error"
    }

    page.locator("[data-choice=source] summary").click()
    page.get_by_label("db", exact=True).check()
    page.locator("[data-choice=source] .menu-sheet .is-primary").click()
    page.wait_for_url("**source=db**")
    expect(page.locator("#log-chart:not(.is-loading)")).to_be_visible(timeout=SLOW_MS)
    assert set(page.locator(".log-page .log-source").all_inner_texts()) == {"db"}

    page.keyboard.press("/")
    page.keyboard.type('"주문 지연" -63')
    page.keyboard.press("Enter")
    page.wait_for_url("**q=**")
    expect(page.locator(".log-page mark").first).to_have_text("주문 지연")
    assert all(int(text.split()[1]) % 84 == 63 for text in texts(page))
    assert "line 63 주문 지연" not in texts(page)
    assert "level=error" in page.url
    page.go_back()
    expect(page.locator("#log-search")).to_have_value("")


def test_a_field_is_added_by_a_click(page: Page, portal: RunningPortal) -> None:
    opened(page, portal, f"server={new_host(portal, 60, ago_s=600).pk}")
    page.locator(".log-page > .log-line").nth(2).click()
    page.locator(".log-fields").get_by_role("link", name=re.compile("^r-2$")).click()
    page.wait_for_url("**q=request**")
    expect(page.locator(".log-page > .log-line")).to_have_count(1)


def test_a_search_that_cannot_be_read_says_where(page: Page, portal: RunningPortal, host: Host) -> None:
    page.goto(f"{portal.url}/logs/?server={host.pk}&q=level:nothing")
    expect(page.locator("#log-error")).to_be_visible()
    assert page.locator("#log-error mark").inner_text()


def test_the_bars_are_a_filter_for_time(page: Page, portal: RunningPortal, host: Host) -> None:
    opened(page, portal, f"server={host.pk}")
    page.locator(".log-plot").focus()
    for key in ("End", "ArrowLeft", "Shift+ArrowLeft", "Shift+ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator(".log-reading")).to_contain_text(":")
    page.keyboard.press("Enter")
    page.wait_for_url("**from=**to=**")
    expect(page.locator("#time-custom")).to_be_visible()
    expect(page.locator("#log-live")).to_have_count(0)


def test_repeated_lines_are_folded_on_request(page: Page, portal: RunningPortal, host: Host) -> None:
    opened(page, portal, f"server={host.pk}")
    page.locator("#log-fold").click()
    page.wait_for_url("**fold=1**")
    expect(page.locator(".log-count").first).to_contain_text("×")


# --- There and back ---------------------------------------------------------------------------------------------------
def test_back_returns_to_the_very_line(page: Page, portal: RunningPortal, host: Host) -> None:
    opened(page, portal, f"server={host.pk}")
    for _ in range(8):
        scroll(page, 500)
    line = page.locator(f"#line-{in_view(page)[5]}")
    position = line.get_attribute("data-position")
    line.locator(".log-open").click()
    page.get_by_role("link", name="Chart at that time").click()
    page.wait_for_url("**/servers/**from=**")
    page.go_back()
    expect(page.locator(f"#line-{position} .log-open")).to_be_focused(timeout=SLOW_MS)
    assert position in in_view(page)


def test_a_link_leads_to_its_line(page: Page, portal: RunningPortal, host: Host) -> None:
    position = kept(portal, host)[700]
    opened(page, portal, f"server={host.pk}&at={position}#line-{position}")
    expect(page.locator(f"#line-{position}")).to_have_class(re.compile("is-at"))
    assert position in in_view(page)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator(".log-details")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".log-details")).to_have_count(0)


def test_the_panel_of_a_server_has_its_lines(page: Page, portal: RunningPortal, host: Host) -> None:
    page.goto(f"{portal.url}/servers/{host.pk}/")
    page.locator("#server-logs").scroll_into_view_if_needed()
    expect(page.locator("#logs.is-panel .log-line").first).to_be_visible(timeout=SLOW_MS)
    page.locator("#level-warning").click()
    expect(page.locator("#level-warning")).to_have_attribute("aria-current", "true")
    assert page.url.endswith(f"/servers/{host.pk}/")
    expect(page.locator("#logs .log-line.is-info")).to_have_count(0)


# --- For everyone -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, portal: RunningPortal, host: Host, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    opened(page, portal, f"server={host.pk}&q=line")
    page.locator(".log-page > .log-line").nth(1).click()
    expect(page.locator(".log-details")).to_be_visible()
    assert found_by_axe(page) == []


@pytest.mark.parametrize("language", ["en", "ko"])
def test_it_fits_a_phone(
    signed_in: BrowserContext, chromium: Browser, portal: RunningPortal, host: Host, language: str
) -> None:
    context = chromium.new_context(
        viewport={"width": 360, "height": 740}, locale=language, storage_state=signed_in.storage_state()
    )
    phone = context.new_page()
    opened(phone, portal, f"server={host.pk}")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    phone.locator(".log-page > .log-line").first.click()
    expect(phone.locator(".log-details")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()
