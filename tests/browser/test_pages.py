"""Every page in a real browser: nothing that axe finds, light and dark, on desk and phone, in both languages."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from portal.embedded.running import RunningPortal
from tests.browser.test_live import server_id

pytestmark = pytest.mark.slow

PAGES = [
    "/",
    "/?state=critical",
    "/servers/{server}/",
    "/alerts/",
    "/alerts/?status=all&q=nowhere",
    "/accounts/preferences/",
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/2fa/",
    "/accounts/sessions/",
    "/accounts/logout/",
    "/no-such-page/",
    "/admin/",
    "/admin/monitoring/server/",
    "/admin/monitoring/server/{server}/change/",
    "/admin/monitoring/source/",
    "/admin/monitoring/simulation/1/change/",
    "/admin/alerts/threshold/",
    "/admin/alerts/threshold/add/",
    "/admin/alerts/threshold/1/change/",
    "/admin/alerts/threshold/1/history/",
    "/admin/alerts/threshold/1/delete/",
    "/admin/alerts/rota/",
    "/admin/alerts/rota/1/change/",
    "/admin/alerts/silence/add/",
    "/admin/alerts/incident/",
    "/admin/alerts/delivery/",
    "/admin/accounts/user/",
    "/admin/accounts/user/add/",
]


def found_by_axe(page: Page) -> list[str]:
    response = Axe().run(page)
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in response.response["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing(portal: RunningPortal, page: Page, path: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(portal.url + path.format(server=server_id(portal, "sim-web-01")))
    page.wait_for_load_state("load")
    assert found_by_axe(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/password/reset/", "/accounts/signup/"])
def test_axe_finds_nothing_before_signing_in(chromium: Browser, portal: RunningPortal, path: str, scheme: str) -> None:
    page = chromium.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(portal.url + path)
    assert found_by_axe(page) == []
    page.close()


@pytest.mark.parametrize("path", ["/", "/servers/{server}/", "/alerts/", "/accounts/preferences/"])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_nothing_is_wider_than_a_phone(
    signed_in: BrowserContext, portal: RunningPortal, chromium: Browser, path: str, language: str
) -> None:
    context = chromium.new_context(
        viewport={"width": 360, "height": 740}, locale=language, storage_state=signed_in.storage_state()
    )
    page = context.new_page()
    page.goto(portal.url + path.format(server=server_id(portal, "sim-web-01")))
    page.wait_for_load_state("load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.get_attribute("html", "lang") == language
    context.close()


def test_filter_and_sort_are_in_the_url_and_back_works(portal: RunningPortal, page: Page) -> None:
    page.goto(portal.url)
    page.select_option("select[name=kind]", "database")
    page.wait_for_url("**kind=database**")
    expect(page.locator("article.card")).to_have_count(5)  # four simulated ones and the portal's own
    page.go_back()
    expect(page.locator("article.card")).not_to_have_count(5)
    page.goto(f"{portal.url}/?kind=cache")
    expect(page.locator("article.card")).to_have_count(4)


def test_the_skip_link_is_first_and_focus_is_visible(portal: RunningPortal, page: Page) -> None:
    page.goto(portal.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
