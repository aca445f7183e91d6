"""A person adds the machine that they sit at, with the commands that the page gives them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from portal.embedded.running import RunningPortal
from tests.browser.test_pages import found_by_axe

pytestmark = pytest.mark.slow

NAME = "added-in-the-browser"
ARRIVES_MS = 30_000


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="om-") as name:
        yield Path(name)


def run(home: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    return subprocess.run(
        ["sh", "-c", command], cwd=home, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_commands_of_the_agents_tab_bring_a_machine_in(page: Page, portal: RunningPortal, home: Path) -> None:
    page.goto(portal.url)
    page.locator("#add-server").click()
    page.get_by_role("button", name="Make a token").click()
    expect(page.locator("#waiting")).to_contain_text("Waiting for the first sample")
    token = page.locator(".add-token").inner_text()
    fetch, keep, check, install, _install_with_logs = page.locator(".add-command code").all_inner_texts()
    assert token in keep
    assert install.endswith("--install && rm openmanager.token")
    for command in (fetch, keep, f"{check} --name {NAME}"):
        result = run(home, command)
        assert result.returncode == 0, result.stdout + result.stderr
    assert "All is well" in result.stdout
    expect(page.locator("#waiting.has-come")).to_be_visible(timeout=ARRIVES_MS)
    page.locator("#waiting").get_by_role("link", name=NAME).click()
    expect(page.locator("h1")).to_contain_text(NAME)


def test_a_token_is_gone_from_the_page_that_is_opened_again(page: Page, portal: RunningPortal) -> None:
    page.goto(f"{portal.url}/servers/add/?way=curl")
    page.get_by_role("button", name="Make a token").click()
    token = page.locator(".add-token").inner_text()
    page.goto(f"{portal.url}/servers/add/?way=curl")
    assert token not in page.content()


def test_tabs_and_copy_work_with_keys(page: Page, portal: RunningPortal, signed_in: BrowserContext) -> None:
    signed_in.grant_permissions(["clipboard-read", "clipboard-write"], origin=portal.url)
    page.goto(f"{portal.url}/servers/add/")
    page.get_by_role("link", name="Script").focus()
    page.keyboard.press("Enter")
    expect(page.locator('.add-ways [aria-current="page"]')).to_have_text("Script")
    page.locator("[data-copy]").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(".add-command code").first.inner_text()


def test_it_works_without_script(chromium: Browser, signed_in: BrowserContext, portal: RunningPortal) -> None:
    plain = chromium.new_context(java_script_enabled=False, storage_state=signed_in.storage_state())
    page = plain.new_page()
    page.goto(f"{portal.url}/servers/add/?way=otlp")
    page.get_by_role("button", name="Make a token").click()
    page.get_by_role("link", name="Look again").click()
    expect(page.locator("#waiting")).to_contain_text("Waiting for the first sample")
    plain.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, portal: RunningPortal, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    for way in ("agent", "scrape"):
        page.goto(f"{portal.url}/servers/add/?way={way}")
        assert found_by_axe(page) == [], way
    page.goto(f"{portal.url}/servers/add/")
    page.get_by_role("button", name="Make a token").click()
    expect(page.locator(".add-token")).to_be_visible()
    page.wait_for_load_state("load")
    assert found_by_axe(page) == []


def test_it_fits_a_phone(chromium: Browser, signed_in: BrowserContext, portal: RunningPortal) -> None:
    phone = chromium.new_context(viewport={"width": 360, "height": 740}, storage_state=signed_in.storage_state())
    page = phone.new_page()
    for way in ("agent", "prometheus", "scrape", "job"):
        page.goto(f"{portal.url}/servers/add/?way={way}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, way
    phone.close()
