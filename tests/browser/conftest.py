"""A real browser and a whole portal, once for all browser tests."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from portal.embedded.running import RunningPortal, running_portal
from portal.system.bench._chromium import FLAGS, sign_in
from tests.browser.limits import ignore_load_of_machines
from tests.programs import needed, running_exporter


# Not for the whole session: while Playwright runs, this thread has an event loop, and tests of our own loops cannot.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    path = needed("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def exporter() -> Iterator[str]:
    """The URL of a running prometheus-node-exporter."""
    with running_exporter() as url:
        yield url


@pytest.fixture(scope="package")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    data = tmp_path_factory.mktemp("browser") / "var"
    with running_portal(data, servers=30, env={"PORTAL_SCRAPE_ALLOW": "127.0.0.0/8"}) as running:
        ignore_load_of_machines(running)  # the one that runs the tests is busy, and here under several names
        yield running


@pytest.fixture(scope="package")
def signed_in(chromium: Browser, portal: RunningPortal) -> Iterator[BrowserContext]:
    """A context with the session of the demo account, signed in through the page."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="Asia/Seoul")
    context.set_default_timeout(15_000)
    page = context.new_page()
    sign_in(page, portal.url, portal.demo["username"], portal.demo["password"])
    page.close()
    yield context
    context.close()


@pytest.fixture
def page(signed_in: BrowserContext) -> Iterator[Page]:
    """A page whose console must stay clean: no error, no policy violation."""
    page = signed_in.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message, page) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []


def is_complaint(message: ConsoleMessage, page: Page) -> bool:
    """Errors, but for what a test does on purpose: a page that does not exist, a portal that was killed or hangs."""
    gone = "404" in message.text and message.location["url"] == page.url
    # htmx says a failed request in two lines, the second of which is an error that is undefined.
    killed = re.search("ERR_CONNECTION|WebSocket connection|^htmx:|^undefined$", message.text) is not None
    by_axe = message.location["url"] == ""
    return message.type == "error" and not (gone or killed or by_axe)
