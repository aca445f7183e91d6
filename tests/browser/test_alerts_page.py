"""The pages of incidents as a person uses them: at a desk with keys, on a phone with a thumb, without script."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from portal.embedded.running import RunningPortal
from portal.system.bench._inside import inside
from tests.browser.limits import ALWAYS_BROKEN, NEVER_BROKEN, set_limit
from tests.browser.test_pages import found_by_axe

pytestmark = pytest.mark.slow

FIRST, SECOND, LATER = "sim-storage-01", "sim-queue-01", "sim-cache-01"
SLOW_MS = 30_000
"""Until a changed threshold shows: the next sample, its evaluation, and a busy machine."""
THUMB_PX = 44


@pytest.fixture(scope="module")
def firing(portal: RunningPortal) -> Iterator[None]:
    """Two servers that are critical as long as these tests run."""
    set_limit(portal, FIRST, ALWAYS_BROKEN)
    set_limit(portal, SECOND, ALWAYS_BROKEN)
    yield
    for name in (FIRST, SECOND, LATER):
        set_limit(portal, name, NEVER_BROKEN)


@pytest.fixture
def alerts(portal: RunningPortal, page: Page, firing: None) -> Page:
    """The list, with both servers firing and nobody on it."""
    page.goto(f"{portal.url}/alerts/?q=sim-")
    for name in (FIRST, SECOND):
        row = row_of(page, name)
        expect(row).to_be_visible(timeout=SLOW_MS)
        if row.get_attribute("data-status") == "acknowledged":
            release(page, row)
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")
    return page


def release(page: Page, row: Locator) -> None:
    listed = page.url
    page.goto(page.url.split("/alerts/")[0] + (row.get_attribute("data-url") or ""))
    page.locator("#release button").click()
    expect(page.locator(".incident-state.is-firing")).to_be_visible()
    page.goto(listed)


def row_of(page: Page, name: str) -> Locator:
    return page.locator(f'.incident[data-server="{name}"]')


def open_incident(page: Page, name: str) -> None:
    row_of(page, name).locator(".incident-open").click()
    expect(page.locator(".incident-state")).to_be_visible()


def test_keys_acknowledge_without_leaving_the_list(alerts: Page) -> None:
    alerts.keyboard.press("j")
    name = alerts.evaluate("document.activeElement.closest('.incident').dataset.server")
    alerts.keyboard.press("a")
    alerts.keyboard.press("Tab")
    alerts.keyboard.type("Looking at it")
    alerts.keyboard.press("Enter")
    row = row_of(alerts, name)
    expect(row).to_have_attribute("data-status", "acknowledged")
    expect(row.locator(".owner")).to_contain_text("until")
    expect(alerts.locator("dialog[open]")).to_have_count(0)
    expect(row.locator(".incident-open")).to_be_focused()
    alerts.keyboard.press("Enter")
    expect(alerts.locator(".facts q")).to_have_text("Looking at it")


def test_a_question_mark_shows_the_keys_and_escape_closes_them(alerts: Page) -> None:
    alerts.keyboard.press("?")
    expect(alerts.locator("#sheet-keys")).to_be_visible()
    alerts.keyboard.press("Escape")
    expect(alerts.locator("#sheet-keys")).to_be_hidden()


def test_what_comes_in_meanwhile_disturbs_neither_an_open_form_nor_the_focus(
    alerts: Page, portal: RunningPortal
) -> None:
    alerts.evaluate("window.stillTheSamePage = true")
    row_of(alerts, SECOND).locator(".incident-open").focus()
    alerts.keyboard.press("c")
    alerts.keyboard.type("half a sen")
    set_limit(portal, LATER, ALWAYS_BROKEN)
    expect(row_of(alerts, LATER)).to_have_count(1, timeout=SLOW_MS)
    expect(alerts.locator("#sheet-comment textarea")).to_be_focused()
    expect(alerts.locator("#sheet-comment textarea")).to_have_value("half a sen")
    alerts.keyboard.press("Escape")
    expect(row_of(alerts, SECOND).locator(".incident-open")).to_be_focused()
    set_limit(portal, LATER, NEVER_BROKEN)
    expect(row_of(alerts, LATER)).to_have_count(0, timeout=SLOW_MS)
    expect(row_of(alerts, SECOND).locator(".incident-open")).to_be_focused()
    assert alerts.evaluate("window.stillTheSamePage")


def test_a_silence_is_made_in_place_and_marked(alerts: Page, portal: RunningPortal) -> None:
    row = row_of(alerts, FIRST)
    row.locator(".incident-open").focus()
    alerts.keyboard.press("s")
    sheet = alerts.locator("#sheet-silence")
    sheet.locator("select[name=metric]").select_option("cpu")
    sheet.get_by_label("Reason").fill("Planned work")
    sheet.get_by_role("button", name="Silence").click()
    expect(row.locator(".is-silenced")).to_be_visible()
    inside(portal, "__import__('alerts.models', fromlist=['x']).Silence.objects.all().delete()[0]")


def test_what_did_not_arrive_is_taken_back_and_offered_again(
    signed_in: BrowserContext, portal: RunningPortal, alerts: Page
) -> None:
    page = signed_in.new_page()  # of its own: the browser writes what fails to the console
    page.goto(alerts.url)
    page.route("**/acknowledge/", lambda route: route.abort("connectionrefused"))
    row = row_of(page, FIRST)
    row.locator('[data-sheet="acknowledge"]').click()
    page.get_by_role("button", name="I have it").click()
    toast = page.locator("#toasts .toast.is-error", has_text="nothing was changed")
    expect(toast).to_be_visible()
    expect(row.locator("[data-part=status]")).to_have_text("Firing")
    page.unroute("**/acknowledge/")
    toast.get_by_role("button", name="Try again").click()
    expect(row).to_have_attribute("data-status", "acknowledged")
    page.close()


def test_a_thumb_acknowledges_on_a_phone(
    signed_in: BrowserContext, chromium: Browser, portal: RunningPortal, alerts: Page
) -> None:
    phone = chromium.new_context(
        viewport={"width": 360, "height": 740}, has_touch=True, storage_state=signed_in.storage_state()
    )
    page = phone.new_page()
    page.goto(alerts.url)
    row = row_of(page, SECOND)
    button = row.locator('[data-sheet="acknowledge"]')
    sizes = page.locator(".incident-acts .button").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert min(sizes) >= THUMB_PX
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    button.tap()
    sheet = page.locator("#sheet-acknowledge")
    heights = sheet.locator(".pills span, .button").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().height)"
    )
    assert min(heights) >= THUMB_PX
    sheet.get_by_label("4 h").tap()
    sheet.get_by_role("button", name="I have it").tap()
    expect(row).to_have_attribute("data-status", "acknowledged")
    page.goto(f"{portal.url}{row.get_attribute('data-url')}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    phone.close()


def test_a_filter_is_in_the_address_and_back_works(alerts: Page, portal: RunningPortal) -> None:
    alerts.locator("#filter-text").fill(FIRST)
    expect(alerts.locator(".incident")).to_have_count(1)
    expect(alerts).to_have_url(re.compile(rf"/alerts/\?q={FIRST}$"))
    expect(alerts.locator("#filter-text")).to_be_focused()
    alerts.locator("#count-resolved").click()
    expect(alerts).to_have_url(re.compile(rf"status=resolved&q={FIRST}$"))
    alerts.go_back()
    expect(row_of(alerts, FIRST)).to_be_visible()


def test_a_comment_is_on_the_time_line_at_once_and_on_the_page_of_the_others(
    alerts: Page, signed_in: BrowserContext
) -> None:
    open_incident(alerts, FIRST)
    other = signed_in.new_page()
    other.goto(alerts.url)
    expect(other.locator("#connection")).to_have_attribute("data-state", "connected")
    other.locator("#comment-text").fill("not yet sent")
    alerts.locator("#comment-text").fill("Disk <b>swapped</b>")
    alerts.get_by_role("button", name="Comment").click()
    for page in (alerts, other):
        expect(page.locator(".time-line blockquote").first).to_have_text("Disk <b>swapped</b>")
    expect(alerts.locator("#comment-text")).to_have_value("")
    expect(other.locator("#comment-text")).to_have_value("not yet sent")
    other.close()


def test_the_chart_of_an_open_incident_grows(alerts: Page) -> None:
    open_incident(alerts, FIRST)
    line = alerts.locator("#incident-chart .line")
    before = line.get_attribute("d")
    expect(line).not_to_have_attribute("d", before or "", timeout=SLOW_MS)
    expect(alerts.locator("#incident-chart line.limit").first).to_be_attached()


def test_it_works_without_script(
    chromium: Browser, signed_in: BrowserContext, portal: RunningPortal, alerts: Page
) -> None:
    address = row_of(alerts, FIRST).get_attribute("data-url")
    plain = chromium.new_context(java_script_enabled=False, storage_state=signed_in.storage_state())
    page = plain.new_page()
    page.goto(alerts.url)
    row_of(page, FIRST).locator('[data-sheet="acknowledge"]').click()
    expect(page).to_have_url(f"{portal.url}{address}#acknowledge")
    page.get_by_role("button", name="I have it").click()
    expect(page.locator(".incident-state.is-acknowledged")).to_be_visible()
    expect(page.locator("#toasts .is-success")).to_contain_text("it is yours")
    plain.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(alerts: Page, scheme: str) -> None:
    alerts.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    assert found_by_axe(alerts) == []
    for key in ("a", "s", "c", "?"):
        alerts.keyboard.press(key)
        expect(alerts.locator("dialog[open]")).to_be_visible()
        assert found_by_axe(alerts) == [], key
        alerts.keyboard.press("Escape")
    open_incident(alerts, FIRST)
    assert found_by_axe(alerts) == []
