"""The fleet page and the charts as a person uses them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from portal.embedded.running import RunningPortal
from tests.browser.limits import ALWAYS_BROKEN, NEVER_BROKEN, server_id, set_limit

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(portal: RunningPortal, page: Page) -> Page:
    page.goto(portal.url)
    expect(page.locator("#connection")).to_have_attribute("data-state", "connected")
    return page


@pytest.fixture
def charts(portal: RunningPortal, page: Page) -> Page:
    page.goto(f"{portal.url}/servers/{server_id(portal, 'sim-web-03')}/")
    expect(page.locator("#panel-cpu .u-over")).to_be_visible()
    return page


@pytest.fixture
def last(portal: RunningPortal) -> Iterator[str]:
    """The name of the last server of the list; whatever a test did to its limit is over afterwards."""
    yield "sim-web-09"
    set_limit(portal, "sim-web-09", NEVER_BROKEN)


def names(page: Page) -> list[str]:
    return page.locator(".card-name a").evaluate_all("links => links.map(link => link.title)")


def drag(page: Page, over: Locator) -> None:
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + 40, steps=4)
    page.mouse.up()


def test_typing_filters_at_once_and_keeps_the_cursor_in_the_field(fleet: Page) -> None:
    fleet.locator("#filter-text").press_sequentially("sim-queue", delay=40)
    expect(fleet.locator(".card")).to_have_count(2)
    expect(fleet).to_have_url(re.compile(r"/\?q=sim-queue$"))
    expect(fleet.locator("#filter-text")).to_be_focused()
    expect(fleet.locator("#filter-text")).to_have_value("sim-queue")


def test_back_breaks_no_rule_of_the_content_security_policy(fleet: Page) -> None:
    said: list[str] = []
    fleet.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    fleet.locator("#filter-kind").select_option("database")
    expect(fleet).to_have_url(re.compile(r"/\?kind=database$"))
    fleet.evaluate(
        "const s = document.getElementById('fleet').style; s.opacity = '1'; s.opacity = ''"
    )  # leaves style=""
    fleet.go_back()
    expect(fleet.locator("#filter-kind")).to_have_value("")
    fleet.wait_for_timeout(300)  # the settling after the swap, where attributes are copied
    assert said == []


def test_back_shows_the_list_as_it_was(fleet: Page) -> None:
    fleet.locator("#filter-kind").select_option("database")
    expect(fleet).to_have_url(re.compile(r"/\?kind=database$"))
    fleet.locator("#filter-sort").select_option("name")
    expect(fleet).to_have_url(re.compile(r"/\?kind=database&sort=name$"))
    fleet.go_back()
    expect(fleet.locator("#filter-sort")).to_have_value("worst")
    expect(fleet.locator("#filter-kind")).to_have_value("database")
    fleet.go_back()
    expect(fleet.locator("#filter-kind")).to_have_value("")
    expect(fleet.locator("header.top")).to_have_count(1)


def test_a_counter_filters_and_says_that_it_does(fleet: Page) -> None:
    fleet.locator("a.count.is-healthy").click()
    expect(fleet).to_have_url(re.compile(r"/\?state=healthy$"))
    expect(fleet.locator("a.count.is-healthy")).to_have_attribute("aria-current", "true")
    fleet.locator("#filter-clear").click()
    expect(fleet.locator("a.count.is-all")).to_have_attribute("aria-current", "true")


def test_a_server_that_turns_critical_comes_first_and_the_focus_stays(
    fleet: Page, portal: RunningPortal, last: str
) -> None:
    focused = fleet.locator(f"#server-{server_id(portal, 'sim-web-01')} a").first
    focused.focus()
    fleet.evaluate("window.stillTheSamePage = true")
    set_limit(portal, last, ALWAYS_BROKEN)
    expect(fleet.locator(".card").first).to_have_id(f"server-{server_id(portal, last)}", timeout=30_000)
    expect(focused).to_be_focused()
    expect(fleet.locator("a.count.is-critical b")).to_have_text("1")
    assert fleet.evaluate("window.stillTheSamePage")
    assert len(names(fleet)) == len(set(names(fleet)))


def test_a_click_on_a_card_opens_its_server(fleet: Page, portal: RunningPortal) -> None:
    server = server_id(portal, "sim-web-02")
    fleet.locator(f"#server-{server} .spark").click()
    expect(fleet).to_have_url(re.compile(rf"/servers/{server}/$"))


def test_a_list_that_cannot_be_read_stays_and_offers_to_try_again(
    signed_in: BrowserContext, portal: RunningPortal
) -> None:
    fleet = signed_in.new_page()  # of its own: htmx writes what fails to the console
    fleet.goto(portal.url)
    fleet.route("**/?*", lambda route: route.abort("connectionrefused"))
    known = names(fleet)
    fleet.locator("#filter-kind").select_option("web")
    fleet.locator("#filter-kind").select_option("cache")
    toast = fleet.locator("#toasts .toast.is-error")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text("2 times")
    assert names(fleet) == known
    fleet.unroute("**/?*")
    toast.get_by_role("button", name="Try again").click()
    expect(fleet.locator(".card")).to_have_count(4)  # three simulated ones and the portal's own
    expect(toast).to_have_count(0)
    fleet.close()


def test_theme_and_density_are_kept_and_there_from_the_start(fleet: Page) -> None:
    fleet.get_by_title("Display").click()
    fleet.get_by_role("button", name="Dark").click()
    fleet.get_by_role("button", name="Roomy").click()
    expect(fleet.locator("html")).to_have_attribute("data-theme", "dark")
    fleet.reload(wait_until="commit")
    expect(fleet.locator("html")).to_have_attribute("data-theme", "dark")
    expect(fleet.locator("html")).to_have_attribute("data-density", "roomy")
    fleet.context.clear_cookies(name="theme")
    fleet.context.clear_cookies(name="density")


def test_a_menu_closes_with_escape_and_gives_the_focus_back(fleet: Page) -> None:
    menu = fleet.get_by_title("Display")
    menu.click()
    fleet.keyboard.press("Tab")
    fleet.keyboard.press("Escape")
    expect(menu).to_be_focused()
    expect(fleet.get_by_role("button", name="Dark")).to_be_hidden()


def test_the_language_is_switched_in_place(fleet: Page) -> None:
    fleet.locator("#filter-kind").select_option("web")
    expect(fleet).to_have_url(re.compile(r"kind=web$"))
    fleet.get_by_title("Display").click()
    fleet.get_by_role("button", name="한국어").click()
    expect(fleet.locator("html")).to_have_attribute("lang", "ko")
    expect(fleet).to_have_url(re.compile(r"/\?kind=web$"))
    fleet.get_by_title("화면").click()
    fleet.get_by_role("button", name="English").click()
    expect(fleet.locator("html")).to_have_attribute("lang", "en")


def test_a_range_is_in_the_address_and_back_returns_to_the_last(charts: Page) -> None:
    charts.get_by_role("link", name="6 hours").click()
    expect(charts).to_have_url(re.compile(r"\?range=6h$"))
    expect(charts.locator("#ranges [aria-current]")).to_have_text("6 hours")
    charts.go_back()
    expect(charts.locator("#ranges [aria-current]")).to_have_text("15 minutes")


def test_dragging_zooms_all_and_escape_resets(charts: Page) -> None:
    drag(charts, charts.locator("#panel-cpu .u-over"))
    whole = charts.get_by_role("button", name="Whole range")
    expect(whole).to_be_visible()
    charts.keyboard.press("Escape")
    expect(whole).to_be_hidden()
    drag(charts, charts.locator("#panel-memory .u-over"))
    charts.locator("#panel-cpu .u-over").dblclick()
    expect(whole).to_be_hidden()


def test_a_zoom_is_in_the_address_and_shows_the_same_again(charts: Page) -> None:
    whole, times = charts.get_by_role("button", name="Whole range"), charts.locator("#span-shown")
    drag(charts, charts.locator("#panel-cpu .u-over"))
    expect(charts).to_have_url(re.compile(r"\?from=.+Z&to=.+Z$"))
    expect(times).to_be_visible()
    said = times.inner_text()

    charts.reload()

    expect(times).to_have_text(said)
    expect(charts.locator("#panel-cpu canvas")).to_be_visible()
    expect(charts.locator("#ranges [aria-current]")).to_have_count(0)
    whole.click()
    expect(charts).to_have_url(re.compile(r"\?range=15m$"))
    expect(charts.locator("#ranges [aria-current]")).to_have_text("15 minutes")
    charts.go_back()
    expect(times).to_have_text(said)


def test_one_crosshair_reads_all_charts(charts: Page) -> None:
    box = charts.locator("#panel-cpu .u-over").bounding_box()
    assert box is not None
    charts.mouse.move(box["x"] + box["width"] - 4, box["y"] + 30)
    expect(charts.locator("#panel-cpu .panel-now")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
    read = charts.locator("#panel-cpu .panel-now").inner_text()
    expect(charts.locator("#panel-memory .panel-now")).to_have_text(read)
    assert "9" in read, "the zone of the browser, Seoul, is said"


def test_arrow_keys_read_a_chart(charts: Page) -> None:
    plot = charts.locator("#panel-cpu .plot")
    plot.focus()
    plot.press("End")
    reading = charts.locator("#panel-cpu .reading")
    expect(reading).to_have_text(re.compile(r": CPU [\d.]+%$"))
    last = reading.inner_text()
    plot.press("ArrowLeft")
    expect(reading).not_to_have_text(last)


def test_a_chart_says_itself_in_words(charts: Page) -> None:
    expect(charts.locator("#panel-cpu .says")).to_have_text(
        re.compile(r"^CPU: now [\d.]+%, min [\d.]+%, avg [\d.]+%, max [\d.]+%\. Critical above 85\.0%$")
    )


def test_samples_that_cannot_be_read_leave_the_known_ones_and_say_how_old_they_are(charts: Page) -> None:
    charts.route("**/samples/**", lambda route: route.abort("connectionrefused"))
    expect(charts.locator("#stale")).to_be_visible(timeout=15_000)
    expect(charts.locator("#stale time")).to_have_text(re.compile(r"\d\d:\d\d"))
    expect(charts.locator("#panel-cpu canvas")).to_be_visible()
    charts.unroute("**/samples/**")
    charts.get_by_role("button", name="Try again").click()
    expect(charts.locator("#stale")).to_be_hidden()
