"""A headless Chromium, for what only a browser can measure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

# Each window would load the list of its address bar as a page of its own, for 0.8 s of a core. Of several flags of this
# kind the last one counts, so what Playwright turns off is turned off again.
_WITHOUT = (
    *("WebUIOmniboxPopup", "WebUIOmniboxAimPopup"),
    *("AvoidUnnecessaryBeforeUnloadCheckSync", "DestroyProfileOnBrowserClose", "HttpsUpgrades", "LensOverlay"),
    *("HttpsFirstBalancedModeAutoEnable", "MediaRouter", "PaintHolding", "ThirdPartyStoragePartitioning", "AimEnabled"),
    *("AvoidCorsURLLoaderRestartOnRedirect", "OptimizationHints", "NetworkTimeServiceQuerying", "PreconnectToSearch"),
)
# Nothing of the browser's own may look for a network that is not there.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(_WITHOUT)}",
]


@contextmanager
def signed_in(url: str, username: str, password: str) -> Iterator[Page]:
    """The fleet page in a browser, signed in. Exits with a sentence where there is no Chromium."""
    path = shutil.which("chromium")
    if path is None:
        raise SystemExit("This benchmark needs Chromium (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        sign_in(page, url, username, password)
        yield page
        browser.close()


def sign_in(page: Page, url: str, username: str, password: str) -> None:
    """Through the form, until the fleet is there."""
    page.goto(url)
    page.fill("input[name=login]", username)
    page.fill("input[name=password]", password)
    page.press("input[name=password]", "Enter")
    page.wait_for_selector("article.card")
