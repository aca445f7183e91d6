"""The bell, the strip and the notices in a real browser, on pages that are open while something fires."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from portal.embedded.running import RunningPortal
from portal.system.bench._inside import inside
from tests.browser.limits import ALWAYS_BROKEN, NEVER_BROKEN, server_id, set_limit
from tests.browser.test_pages import found_by_axe

pytestmark = pytest.mark.slow

SERVER = "sim-storage-02"
ALERTS = "#alerts"
STRIP = ".strip"
TOAST = "#toasts .toast"


class Trouble:
    """A server whose CPU is critical from the moment on at which a test says so, by a threshold of its own."""

    def __init__(self, portal: RunningPortal) -> None:
        self._portal = portal
        self.server = server_id(portal, SERVER)

    def begin(self) -> None:
        set_limit(self._portal, SERVER, ALWAYS_BROKEN)

    def end(self) -> None:
        set_limit(self._portal, SERVER, NEVER_BROKEN)

    def incident(self) -> int:
        incidents = "__import__('alerts.models', fromlist=['Incident']).Incident"
        return int(inside(self._portal, f"{incidents}.objects.filter(server_id={self.server}).latest('pk').pk"))


@pytest.fixture
def trouble(portal: RunningPortal, page: Page) -> Iterator[Trouble]:
    trouble = Trouble(portal)
    yield trouble
    trouble.end()
    page.goto(f"{portal.url}/servers/{trouble.server}/")
    expect(page.locator(".vitals.is-healthy")).to_be_visible(timeout=20_000)


@pytest.fixture
def fleet(portal: RunningPortal, page: Page) -> Page:
    page.goto(portal.url)
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")
    return page


def toast_of(page: Page, text: str) -> str:
    """A selector that stays with the notice of the server, whatever else fires on this machine."""
    return f'{TOAST}:has-text("{SERVER}"):has-text("{text}")'


def test_what_fires_is_on_an_open_page_by_itself_and_gone_when_it_is_over(fleet: Page, trouble: Trouble) -> None:
    fleet.evaluate("window.stillTheSamePage = true")
    trouble.begin()
    expect(fleet.locator(toast_of(fleet, "is above"))).to_have_class(re.compile("is-error"), timeout=20_000)
    expect(fleet.locator(f"{ALERTS} .bell")).to_have_class(re.compile("is-critical"))
    expect(fleet.locator(STRIP)).to_be_visible()
    assert found_by_axe(fleet) == []
    trouble.end()
    expect(fleet.locator(toast_of(fleet, "after"))).to_have_class(re.compile("is-success"), timeout=20_000)
    expect(fleet.locator(toast_of(fleet, "is above"))).to_have_count(0)
    assert fleet.evaluate("window.stillTheSamePage")


def test_it_is_acknowledged_from_the_notice_and_taken_back(fleet: Page, trouble: Trouble) -> None:
    trouble.begin()
    toast = fleet.locator(toast_of(fleet, "is above"))
    toast.get_by_role("button", name="Acknowledge").click(timeout=20_000)
    mine = fleet.locator(toast_of(fleet, "You have it"))
    expect(mine).to_be_visible()
    expect(fleet.locator(f"{STRIP} a[href='/alerts/{trouble.incident()}/']")).to_have_count(0)
    mine.get_by_role("button", name="Take it back").click()
    expect(mine).to_have_count(0)
    expect(fleet.locator(STRIP)).to_be_visible()


def test_a_page_opened_later_shows_no_history(fleet: Page, trouble: Trouble, signed_in: BrowserContext) -> None:
    trouble.begin()
    expect(fleet.locator(toast_of(fleet, "is above"))).to_be_visible(timeout=20_000)
    later = signed_in.new_page()
    later.goto(fleet.url)
    expect(later.locator("#connection")).to_have_attribute("data-state", "connected")
    later.wait_for_timeout(1_500)
    expect(later.locator(toast_of(later, "is above"))).to_have_count(0)
    expect(later.locator(STRIP)).to_be_visible()
    later.close()
    fleet.reload()
    expect(fleet.locator("#connection")).to_have_attribute("data-state", "connected")
    expect(fleet.locator(toast_of(fleet, "is above"))).to_have_count(0)


def test_a_notice_closed_in_one_tab_is_closed_in_the_others(
    fleet: Page, trouble: Trouble, signed_in: BrowserContext
) -> None:
    other = signed_in.new_page()
    other.goto(fleet.url)
    expect(other.locator("#connection")).to_have_attribute("data-state", "connected")
    trouble.begin()
    for page in (fleet, other):
        expect(page.locator(toast_of(page, "is above"))).to_be_visible(timeout=20_000)
    other.locator(toast_of(other, "is above")).get_by_role("button", name="Dismiss").click()
    expect(fleet.locator(toast_of(fleet, "is above"))).to_have_count(0)
    other.close()


def test_many_notices_are_folded_into_one(fleet: Page) -> None:
    """What arrives in one frame is given to the script as the hub's frames are: thirty at once are hard to make."""
    fleet.evaluate(
        """() => {
            const rows = Array.from({length: 30}, (_, n) => `<li data-entry="${9e9 + n}" data-incident="${9e9 + n}"
                data-kind="error" data-group="" data-firing><a href="/alerts/${9e9 + n}/">number ${n}</a></li>`);
            document.querySelector("#alerts .announcements").innerHTML = rows.join("");
            const element = document.getElementById("alerts");
            const swapped = new Map([["alerts", element]]);
            document.dispatchEvent(new CustomEvent("live:swapped", {detail: {swapped}}));
        }"""
    )
    expect(fleet.locator(TOAST)).to_have_count(4)
    expect(fleet.locator(TOAST).last).to_contain_text("27 more alerts")


def test_the_strip_moves_nothing_under_the_eyes_of_who_has_scrolled(
    portal: RunningPortal, page: Page, trouble: Trouble
) -> None:
    page.goto(f"{portal.url}/servers/{server_id(portal, 'sim-web-05')}/")
    expect(page.locator("#panel-memory .mark-of")).to_be_visible(timeout=20_000)
    expect(page.locator(STRIP)).to_have_count(0, timeout=20_000)
    page.evaluate("scrollTo(0, 500)")
    page.wait_for_timeout(500)
    assert page.evaluate("scrollY") == 500
    before = page.locator("#family-application").bounding_box()
    trouble.begin()
    expect(page.locator(STRIP)).to_be_visible(timeout=20_000)
    page.wait_for_timeout(500)
    after = page.locator("#family-application").bounding_box()
    assert before is not None
    assert after is not None
    assert abs(after["y"] - before["y"]) <= 1


def test_a_long_name_fits_a_phone(portal: RunningPortal, chromium: Browser, signed_in: BrowserContext) -> None:
    name = "a-very-long-name-of-a-server-that-somebody-really-gave-it.example.internal-0001"
    context = chromium.new_context(
        viewport={"width": 360, "height": 740}, locale="en-GB", storage_state=signed_in.storage_state()
    )
    page = context.new_page()
    page.goto(portal.url)
    page.evaluate(
        """name => {
            const strip = document.querySelector(".strip-space");
            strip.classList.add("is-open");
            strip.innerHTML = `<section class="strip is-unheard">
                <svg class="icon" width="16" height="16"></svg><b>Nobody has this, nobody was told:</b>
                <span class="strip-what"><a href="#"><bdi>${name}</bdi></a><span class="simulated">simulated</span>
                <span class="strip-reading">Disk by mount /var/lib/postgresql 97.2% · Critical since 12:03</span></span>
                <a class="strip-more" href="#">and 29 more</a></section>`;
        }""",
        name,
    )
    page.wait_for_timeout(400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    edges = page.locator(".strip *").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(({right, bottom}) => [right, bottom])"
    )
    assert [edge for edge in edges if edge[0] > 361 or edge[1] > 101] == []
    context.close()


# --- The page of a server ---------------------------------------------------------------------------------------------


def test_the_page_of_a_server_says_why_it_is_red_and_when_it_is_over(
    portal: RunningPortal, page: Page, trouble: Trouble
) -> None:
    page.goto(f"{portal.url}/servers/{trouble.server}/")
    panel = page.locator(".why-panel")
    expect(panel).to_contain_text("Nothing is wrong.", timeout=20_000)
    panel.locator("summary").click()
    trouble.begin()
    expect(panel).to_contain_text("Why is this red?", timeout=20_000)
    expect(panel.locator(".wrong")).to_contain_text("Rule: This server · Critical above 1.0%")
    expect(panel.locator(".wrong-rule.is-shadowed")).to_contain_text("instead of All servers")
    expect(panel.locator("details.rules")).to_have_attribute("open", "")
    assert found_by_axe(page) == []
    trouble.end()
    expect(panel).to_contain_text("Nothing is wrong.", timeout=20_000)


def test_charts_draw_the_limit_and_say_it(portal: RunningPortal, page: Page) -> None:
    page.goto(f"{portal.url}/servers/{server_id(portal, 'sim-web-05')}/")
    cpu = page.locator("#panel-cpu")
    expect(cpu.locator(".legend .mark-of.is-critical")).to_have_text("Critical above 85.0%", timeout=20_000)
    expect(cpu.locator(".says")).to_have_text(re.compile(r"Critical above 85\.0%$"))
    expect(page.locator("#panel-disk .mark-of")).to_have_count(0)
