"""The form of a source shows what the chosen collector needs, by itself and beside a server."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from portal.embedded.running import RunningPortal

pytestmark = pytest.mark.slow


def test_only_what_the_collector_needs_is_shown(portal: RunningPortal, page: Page) -> None:
    page.goto(f"{portal.url}/admin/monitoring/source/add/")
    page.select_option("#id_collector", "http")
    expect(page.locator("#id_http_contains")).to_be_visible()
    expect(page.locator("#id_postgres_tls")).to_be_hidden()
    page.select_option("#id_collector", "tcp")
    expect(page.locator("#id_url")).to_be_visible()
    expect(page.locator("#id_secret")).to_be_hidden()
    page.select_option("#id_collector", "host")
    expect(page.locator("#id_url")).to_be_hidden()
    expect(page.locator("#id_tcp_banner")).to_be_hidden()


def test_a_source_that_is_added_beside_a_server_shows_its_own_part(portal: RunningPortal, page: Page) -> None:
    page.goto(f"{portal.url}/admin/monitoring/server/add/")
    page.select_option("#id_sources-0-collector", "redis")
    page.get_by_text("Add another Source").click()
    page.select_option("#id_sources-1-collector", "postgres")
    expect(page.locator("#id_sources-0-redis_verify")).to_be_visible()
    expect(page.locator("#id_sources-0-postgres_tls")).to_be_hidden()
    expect(page.locator("#id_sources-1-postgres_tls")).to_be_visible()
    expect(page.locator("#id_sources-1-redis_verify")).to_be_hidden()
