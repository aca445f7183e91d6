"""The form of a threshold asks only for the target of its scope, and sends no other."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from portal.embedded.running import RunningPortal
from tests.browser.test_live import server_id

pytestmark = pytest.mark.slow


def test_only_the_target_of_the_scope_is_asked_for_and_sent(portal: RunningPortal, page: Page) -> None:
    page.goto(f"{portal.url}/admin/alerts/threshold/add/")
    for name in ("kind", "group", "server"):
        expect(page.locator(f"#id_{name}")).to_be_hidden()
    page.select_option("#id_metric", label="Disk (%)")
    page.select_option("#id_scope", "group")
    page.select_option("#id_group", label="Simulated fleet")
    page.select_option("#id_scope", "server")
    expect(page.locator("#id_group")).to_be_hidden()
    page.fill("#id_server", str(server_id(portal, "sim-web-01")))
    page.fill("#id_critical", "97")
    page.fill("#id_change_reason", "its disk is small")
    page.click("input[name=_save]")
    expect(page.locator(".messagelist .success")).to_contain_text("Disk · above · sim-web-01")
