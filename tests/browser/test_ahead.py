"""What a page does before it has to: fetches where a link leads, shows what will be, says what must not wait."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from portal.embedded.running import RunningPortal
from tests.browser.limits import NEVER_BROKEN, server_id, set_limit
from tests.browser.test_bell import SERVER, Trouble
from tests.browser.test_connection import state
from tests.browser.test_transports import until
from tests.browser.wire import hide

pytestmark = pytest.mark.slow

CATCH = """() => {
    window.told = [];
    const Real = window.Notification;
    window.Notification = class extends EventTarget {
        static get permission() { return Real.permission; }
        static requestPermission() { return Real.requestPermission(); }
        constructor(title, options) { super(); window.told.push({title, ...options}); window.last = this; }
        close() {}
    };
}"""


NEWS = """() => document.dispatchEvent(new CustomEvent("alerts:news", {detail: {news: [
    {key: "incident-0", kind: "error", firing: true, text: "something", href: "/alerts/"}
]}}))"""


@pytest.fixture
def own(chromium: Browser, portal: RunningPortal, signed_in: BrowserContext) -> Iterator[BrowserContext]:
    """The session of the demo account in a context of its own: permissions and choices are a context's."""
    context = chromium.new_context(locale="en-GB", storage_state=signed_in.storage_state())
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def trouble(portal: RunningPortal) -> Iterator[Trouble]:
    trouble = Trouble(portal)
    yield trouble
    trouble.end()


def open_menu(page: Page) -> None:
    page.get_by_title("Display").click()


# --- Pages -----------------------------------------------------------------------------------------------------------


def test_a_page_is_fetched_while_its_link_is_pointed_at_and_used_once(
    portal: RunningPortal, own: BrowserContext
) -> None:
    page = own.new_page()
    page.goto(portal.url)
    state(page, "connected")
    ready: list[str] = []
    session = own.new_cdp_session(page)
    session.send("Preload.enable")
    session.on(
        "Preload.prefetchStatusUpdated",
        lambda event: ready.extend([event["prefetchUrl"]] if event["status"] == "Ready" else []),
    )
    server = server_id(portal, "sim-web-02")
    link = page.locator(f"#server-{server} a").first
    link.hover()
    until(lambda: f"{portal.url}/servers/{server}/" in ready, page)
    link.click()
    page.wait_for_url(re.compile(rf"/servers/{server}/$"))
    assert page.evaluate("performance.getEntriesByType('navigation')[0].deliveryType") == "navigational-prefetch"
    state(page, "connected")


def test_nothing_is_fetched_ahead_over_a_line_that_is_to_be_spared(portal: RunningPortal, own: BrowserContext) -> None:
    page = own.new_page()
    page.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'connection',"
        " {get: () => ({saveData: true, addEventListener() {}})})"
    )
    page.goto(portal.url)
    state(page, "connected")
    page.locator("article.card a").first.hover()
    page.wait_for_timeout(300)
    expect(page.locator("script[type=speculationrules]")).to_have_count(0)


# --- Notifications ---------------------------------------------------------------------------------------------------


def test_a_critical_incident_is_said_once_by_who_chose_so_and_only_while_no_page_is_seen(
    portal: RunningPortal, own: BrowserContext, trouble: Trouble
) -> None:
    own.grant_permissions(["notifications"], origin=portal.url)
    one, other = own.new_page(), own.new_page()
    for page in (one, other):
        page.goto(portal.url)
        page.evaluate(CATCH)
        state(page, "connected")
    open_menu(one)
    one.locator("#notify button[value=on]").click()
    expect(one.locator("#notify button[value=on]")).to_have_attribute("aria-pressed", "true")
    expect(other.locator("#notify button[value=on]")).to_have_attribute("aria-pressed", "true")
    one.evaluate("window.told = []")  # what said how it will look

    hide(one)
    one.evaluate(NEWS)
    one.wait_for_timeout(500)
    assert one.evaluate("window.told") == [], "the other page is seen"

    hide(other)
    trouble.begin()
    until(lambda: bool(one.evaluate("window.told") + other.evaluate("window.told")), one, 30)
    one.wait_for_timeout(1_000)
    told = one.evaluate("window.told") + other.evaluate("window.told")
    assert [one["tag"] for one in told] == [f"incident-{trouble.incident()}"]
    teller = one if one.evaluate("window.told.length") else other
    teller.evaluate("window.last.dispatchEvent(new Event('click'))")
    expect(teller).to_have_url(re.compile(rf"/alerts/{trouble.incident()}/$"))


def test_where_the_browser_blocks_them_it_is_explained(portal: RunningPortal, own: BrowserContext) -> None:
    page = own.new_page()
    page.add_init_script("Object.defineProperty(Notification, 'permission', {get: () => 'denied'})")
    page.goto(portal.url)
    open_menu(page)
    page.locator("#notify button[value=on]").click()
    expect(page.locator("#notify [data-part=denied]")).to_be_visible()
    expect(page.locator("#notify button[value=on]")).to_have_attribute("aria-pressed", "false")


# --- What will be ----------------------------------------------------------------------------------------------------


def test_a_limit_that_was_changed_is_shown_on_its_way_and_what_was_typed_stays_when_nobody_answers(
    portal: RunningPortal, own: BrowserContext
) -> None:
    set_limit(portal, "sim-web-04", NEVER_BROKEN)
    page = own.new_page()
    page.goto(f"{portal.url}/admin/alerts/threshold/?q=sim-web-04")
    page.locator("#result_list tbody th a").first.click()
    page.fill("#id_critical", "97.5")
    page.fill("#id_change_reason", "a busy week")
    form = page.url
    held: list[Route] = []
    page.route(
        "**/threshold/*/change/**",
        lambda route: held.append(route) if route.request.method == "POST" else route.continue_(),
    )
    page.click("input[name=_save]")
    expect(page.locator(".messagelist .is-on-its-way").nth(1)).to_contain_text("99.99 → 97.5")
    until(lambda: bool(held), page)
    held.pop().abort()
    expect(page.locator(".messagelist .error")).to_contain_text("still here")
    expect(page.locator("#id_critical")).to_have_value("97.5")

    page.click("input[name=_save]")
    until(lambda: bool(held), page)
    held.pop().continue_()
    expect(page.locator(".messagelist .success")).to_contain_text("sim-web-04")
    page.goto(form)
    expect(page.locator("#id_critical")).to_have_value("97.5")


def test_what_is_wrong_with_a_limit_is_said_in_its_form(portal: RunningPortal, own: BrowserContext) -> None:
    page = own.new_page()
    page.goto(f"{portal.url}/admin/alerts/threshold/add/")
    page.click("input[name=_save]")
    expect(page.locator(".errornote")).to_be_visible()


def test_a_silence_is_shown_at_once_and_taken_back_when_it_is_refused(
    portal: RunningPortal, own: BrowserContext, trouble: Trouble
) -> None:
    trouble.begin()
    page = own.new_page()
    page.goto(f"{portal.url}/alerts/?q={SERVER}")
    row = page.locator(f'.incident[data-server="{SERVER}"]')
    expect(row).to_be_visible(timeout=20_000)
    held: list[Route] = []
    page.route("**/silence/", lambda route: held.append(route))  # Playwright marks what it calls
    row.locator("[data-sheet=silence]").click()
    page.locator("#sheet-silence").get_by_label("Reason").fill("Planned work")
    page.locator("#sheet-silence").get_by_role("button", name="Silence").click()
    expect(row.locator(".is-silenced")).to_be_visible()
    expect(row.locator(".on-its-way")).to_be_visible()
    held[0].fulfill(status=409, content_type="text/plain", body="Somebody was faster.")
    expect(page.locator("#toasts .toast.is-warning")).to_contain_text("Somebody was faster.")
    expect(row.locator(".is-silenced, .on-its-way")).to_have_count(0)
