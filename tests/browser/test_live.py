"""What a person sees: numbers that move by themselves, and a page that heals by itself."""

from __future__ import annotations

import re
import socket
import time

import pytest
from playwright.sync_api import Page, expect

from portal.embedded.running import RunningPortal
from tests.browser.limits import server_id

pytestmark = pytest.mark.slow

STATUS = "#live-status"
PERIOD_MS = 5_000


def test_the_first_screen_shows_this_machine_and_thirty_simulated_servers(portal: RunningPortal, page: Page) -> None:
    page.goto(portal.url)
    expect(page.locator("article.card .simulated")).to_have_count(30)
    machine = page.locator(f"#server-{server_id(portal, socket.gethostname())}")
    expect(machine).to_be_visible()
    bottoms = page.locator("article.card").evaluate_all(
        "cards => cards.map(card => card.getBoundingClientRect().bottom)"
    )
    assert sum(bottom <= 900 for bottom in bottoms) >= 30, "thirty servers without scrolling"


def test_a_value_changes_without_a_reload_and_keeps_focus_and_selection(portal: RunningPortal, page: Page) -> None:
    page.goto(portal.url)
    expect(page.locator(STATUS)).to_have_attribute("data-state", "connected")
    card = page.locator(f"#server-{server_id(portal, 'sim-web-01')}")
    before = card.get_attribute("data-at")
    link = card.locator("a").first
    link.focus()
    page.evaluate(
        """card => {
            window.stillTheSamePage = true;
            const text = document.createTreeWalker(card.querySelector("h2"), NodeFilter.SHOW_TEXT).nextNode();
            getSelection().setBaseAndExtent(text, 0, text, 3);
        }""",
        card.element_handle(),
    )
    expect(card).not_to_have_attribute("data-at", before or "")
    assert page.evaluate("window.stillTheSamePage")
    assert page.evaluate("getSelection().toString()") == "sim"
    assert link.evaluate("link => document.activeElement === link")


def test_a_killed_web_process_heals_by_itself_without_a_gap_in_the_chart(portal: RunningPortal, page: Page) -> None:
    page.goto(f"{portal.url}/servers/{server_id(portal, 'sim-web-02')}/")
    cpu = page.locator("#panel-cpu")
    cpu.locator("summary").click()
    expect(cpu.locator("tr[data-at]").first).to_be_visible()
    page.evaluate("window.stillTheSamePage = true")
    killed_at = time.time()
    pid = portal.kill("web")
    expect(page.locator(STATUS)).not_to_have_attribute("data-state", "connected")
    portal.wait_for_another("web", pid)
    expect(page.locator(STATUS)).to_have_attribute("data-state", "connected", timeout=15_000)
    page.wait_for_function(
        "since => Number(document.querySelector('#panel-cpu tr[data-at]').dataset.at) > since",
        arg=(killed_at + 12) * 1000,
        timeout=30_000,
    )
    instants = cpu.locator("tr[data-at]").evaluate_all("rows => rows.map(row => Number(row.dataset.at))")
    assert {late - early for early, late in zip(instants[1:], instants, strict=False)} == {PERIOD_MS}
    assert page.evaluate("window.stillTheSamePage")


def test_a_real_node_exporter_is_added_in_the_admin_and_seen_on_the_page(
    portal: RunningPortal, exporter: str, page: Page
) -> None:
    page.goto(f"{portal.url}/admin/monitoring/server/add/")
    page.fill("#id_name", "exported")
    page.select_option("#id_group", label="Machines")
    page.select_option("#id_sources-0-collector", "prometheus")
    page.fill("#id_sources-0-url", exporter)
    page.fill("#id_sources-0-interval_s", "5")
    page.click("[name=_save]")
    page.wait_for_selector(".success")
    page.goto(portal.url)
    card = page.locator(f"#server-{server_id(portal, 'exported')}")
    for name, pattern in {"CPU": r"\d%", "Mem": r"\d%", "Disk": r"\d%"}.items():
        gauge = card.locator(".gauge", has_text=name)
        expect(gauge).to_contain_text(re.compile(pattern), timeout=30_000)
    expect(card.locator(".net")).to_contain_text("B/s", timeout=30_000)
