"""The floating status of the live connection: true at every moment, and no trouble for whoever does not want it."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from portal.embedded.running import RunningPortal
from portal.system.bench._chromium import sign_in

pytestmark = pytest.mark.slow


def status(page: Page) -> Locator:
    return page.locator("#live-status")


def state(page: Page, name: str) -> None:
    expect(status(page)).to_have_attribute("data-state", name, timeout=30_000)


def toggle(page: Page) -> Locator:
    return status(page).get_by_role("button", name="Connection details")


@contextmanager
def hanging(portal: RunningPortal, child: str) -> Iterator[None]:
    portal.kill(child, signal.SIGSTOP)
    try:
        yield
    finally:
        portal.kill(child, signal.SIGCONT)


@pytest.fixture
def fleet(portal: RunningPortal, page: Page) -> Page:
    page.goto(f"{portal.url}/?live=debug")
    state(page, "connected")
    return page


def test_it_says_live_in_a_word_with_latency_and_rate(fleet: Page) -> None:
    expect(status(fleet).locator("[data-when=connected]")).to_be_visible()
    toggle(fleet).click()
    expect(status(fleet).locator("[data-value=latency]")).to_have_text(re.compile(r"^\d+ ms$"))
    expect(status(fleet).locator("[data-value=frames]")).not_to_have_text("0", timeout=12_000)
    expect(status(fleet).locator("[data-value=newest]")).not_to_have_text("–")
    fleet.evaluate("localStorage.clear()")


def test_it_is_made_large_and_small_with_the_keyboard_and_stays_so(fleet: Page) -> None:
    details = fleet.locator("#live-status-details")
    for large in (True, False):
        if details.is_visible() != large:
            toggle(fleet).focus()
            fleet.keyboard.press("Enter")
        fleet.reload()
        state(fleet, "connected")
        expect(details).to_be_visible(visible=large)
        expect(toggle(fleet)).to_have_attribute("aria-expanded", str(large).lower())
    fleet.evaluate("localStorage.clear()")


def test_a_device_that_goes_offline_is_told_at_once_and_comes_back_at_once(fleet: Page) -> None:
    fleet.context.set_offline(True)
    state(fleet, "lost")
    expect(status(fleet).locator("[data-notice=offline]")).to_be_visible()
    fleet.context.set_offline(False)
    expect(status(fleet)).to_have_attribute("data-state", "connected", timeout=3_000)


def test_a_web_process_that_does_not_answer_is_noticed_and_the_button_tries_again(
    portal: RunningPortal, fleet: Page
) -> None:
    web = portal.pids()["web"]
    with hanging(portal, "web"):  # the connection stays open, and nothing comes any more
        state(fleet, "lost")
        expect(status(fleet).locator("[data-notice=lost]")).to_contain_text(re.compile(r"since \d\d:\d\d"))
        status(fleet).get_by_role("button", name="Reconnect all").click()
        state(fleet, "connecting")
    expect(status(fleet)).to_have_attribute("data-state", "connected", timeout=10_000)
    assert portal.pids()["web"] == web


def test_it_is_not_green_while_redis_is_away_and_is_again_after(portal: RunningPortal, fleet: Page) -> None:
    with hanging(portal, "redis"):
        state(fleet, "unknown")
        expect(status(fleet).locator("[data-notice=degraded]")).to_be_visible()
    state(fleet, "connected")


def test_what_a_person_opened_stays_open_when_its_surroundings_change(fleet: Page) -> None:
    fleet.evaluate(
        """() => {
            const box = document.createElement('div');
            box.innerHTML = '<article id="box"><details><summary>more</summary><input></details><b>1</b></article>';
            document.querySelector('main').append(box.firstChild);
        }"""
    )
    box = fleet.locator("#box")
    box.locator("summary").click()
    box.locator("input").fill("half a sen")
    fleet.evaluate(
        """async () => {
            const { swapAll } = await import('/static/js/live/swap.js');
            swapAll('<article id="box"><details><summary>more</summary><input></details><b>2</b></article>');
        }"""
    )
    expect(box.locator("b")).to_have_text("2")
    expect(box.locator("details")).to_have_attribute("open", "")
    expect(box.locator("input")).to_have_value("half a sen")
    expect(box.locator("input")).to_be_focused()


def test_what_is_added_to_the_page_is_watched_and_what_is_gone_is_taken_away(fleet: Page) -> None:
    card_id = fleet.locator("article.card").first.get_attribute("id")
    fleet.evaluate(
        """() => {
            const card = document.querySelector('article.card');
            const empty = card.cloneNode(false);
            card.remove();
            document.dispatchEvent(new Event('live:rescan'));
            document.querySelector('main').append(empty);
            document.dispatchEvent(new Event('live:rescan'));
        }"""
    )
    expect(fleet.locator(f"#{card_id}")).to_contain_text("CPU")
    fleet.evaluate(
        """async (id) => {
            const { swapAll } = await import('/static/js/live/swap.js');
            swapAll(`<template data-gone="${document.getElementById(id).dataset.live}"></template>`);
        }""",
        card_id,
    )
    expect(fleet.locator(f"#{card_id}")).to_have_count(0)


@pytest.mark.parametrize("path", ["/", "/alerts/?status=all"])
def test_on_a_phone_it_lies_over_nothing_that_can_be_pressed(
    signed_in: BrowserContext, chromium: Browser, portal: RunningPortal, path: str
) -> None:
    context = chromium.new_context(
        viewport={"width": 360, "height": 740}, locale="en-GB", storage_state=signed_in.storage_state()
    )
    phone = context.new_page()
    phone.goto(portal.url + path)
    state(phone, "connected")
    bar = status(phone).bounding_box()
    assert bar is not None
    assert (bar["x"], bar["width"]) == (0, 360)
    assert bar["height"] <= 40
    phone.evaluate("scrollTo(0, document.body.scrollHeight)")
    ends = phone.locator("main").evaluate(
        "main => Math.max(...[...main.querySelectorAll('*')].map(one => one.getBoundingClientRect().bottom))"
    )
    assert ends <= bar["y"], "the end of the page is clear of it"
    context.close()


@pytest.fixture
def two_pages(chromium: Browser, portal: RunningPortal) -> Iterator[tuple[Page, Page]]:
    """Two pages of a session of their own, which a test may end."""
    context = chromium.new_context(locale="en-GB")
    one, two = context.new_page(), context.new_page()
    sign_in(one, portal.url, portal.demo["username"], portal.demo["password"])
    two.goto(portal.url)
    yield one, two
    context.close()


def test_signing_out_in_one_page_is_said_in_the_other_with_the_way_back(two_pages: tuple[Page, Page]) -> None:
    one, two = two_pages
    state(two, "connected")
    one.goto(f"{one.url.split('?')[0]}accounts/logout/")
    one.locator("main form button").click()
    state(two, "lost")
    expect(two.locator("[data-notice=signed-out]")).to_be_visible()
    two.wait_for_timeout(3_000)  # the one look whether it is so
    expect(two.locator("[data-notice=signed-out]")).to_be_visible()
    expect(two.locator("#connection")).to_have_text(re.compile(r"^\s*Signed out\s*$"), use_inner_text=True)
    two.get_by_role("link", name="Sign in").click()
    expect(two).to_have_url(re.compile(r"/accounts/login/\?next="))
