"""How frames come to a page where a network lets less through, and how much it asks for when nobody looks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, WebSocketRoute, expect

from portal.embedded.running import RunningPortal
from tests.browser.limits import server_id
from tests.browser.main_thread import Feed, measured
from tests.browser.test_connection import state, status, toggle
from tests.browser.wire import Wire, hide

pytestmark = pytest.mark.slow

STREAM, STATE = "**/api/monitoring/stream**", "**/api/monitoring/state**"
SCROLL_SAYS_S = 0.5
"""While a page is scrolled it says what is near the screen about this often at most."""
MOST_BUSY = 0.6
"""Of the CPU time that the page's main thread needs when each card is replaced by what came; 0.46 measured."""
_REPLACE = '(cards) => cards.forEach((html) => (document.getElementById(/id="([^"]+)/.exec(html)[1]).outerHTML = html))'


class Blocked:
    """A network that lets no socket through, until it does."""

    def __init__(self, page: Page, code: int = 1001) -> None:
        self.is_on = True
        self.tried_at: list[float] = []
        self.code = code
        page.route_web_socket("**/ws/live/**", self._route)

    def _route(self, socket: WebSocketRoute) -> None:
        self.tried_at.append(time.monotonic())
        if self.is_on:
            socket.close(code=self.code)
        else:
            socket.connect_to_server()


@pytest.fixture
def quiet(signed_in: BrowserContext) -> Iterator[Page]:
    """A page whose console may complain: the browser writes to it what a test blocks."""
    page = signed_in.new_page()
    yield page
    page.evaluate("localStorage.clear()")
    page.close()


def comes_by(page: Page, way: str) -> None:
    expect(status(page).locator("[data-value=transport]")).to_have_text(way, timeout=30_000)


def moves(page: Page, card: str) -> None:
    """The card shows another sample than now, by itself."""
    before = page.locator(card).get_attribute("data-at") or ""
    expect(page.locator(card)).not_to_have_attribute("data-at", before, timeout=40_000)


def until(true: Callable[[], bool], page: Page, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


# --- Ways ---------------------------------------------------------------------------------------------------------


def test_sockets_blocked_then_streams_too_and_back_again(portal: RunningPortal, quiet: Page) -> None:
    blocked = Blocked(quiet)
    quiet.goto(portal.url)
    state(quiet, "connected")
    toggle(quiet).click()
    comes_by(quiet, "Event stream")
    card = f"#server-{server_id(portal, 'sim-web-01')}"
    moves(quiet, card)
    expect(status(quiet).locator("[data-part=next]")).to_be_visible()

    quiet.route(STREAM, lambda route: route.abort())
    quiet.locator("#filter-sort").select_option("name")  # another set of cards near the screen, or the same
    status(quiet).get_by_role("button", name="Reconnect all").click()
    comes_by(quiet, "Polling")
    expect(status(quiet).locator("[data-notice=polling]")).to_be_visible()
    expect(status(quiet)).to_have_attribute("data-state", "connected")

    blocked.is_on = False
    hide(quiet)
    hide(quiet, hidden=False)  # shown again: the socket is tried at once, whatever it waited for
    comes_by(quiet, "WebSocket")
    expect(status(quiet).locator("[data-part=next]")).to_be_hidden()


def test_a_change_of_the_way_is_no_loss(portal: RunningPortal, quiet: Page) -> None:
    sockets: list[WebSocketRoute] = []

    def route(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if len(sockets) == 1:
            socket.connect_to_server()
        else:
            socket.close(code=1001)

    quiet.route_web_socket("**/ws/live/**", route)
    quiet.goto(portal.url)
    state(quiet, "connected")
    quiet.evaluate(
        """() => {
            window.ways = [];
            const note = ({detail}) => window.ways.push(`${detail.state} ${detail.transport}`);
            document.addEventListener("live:state", note);
        }"""
    )
    sockets[0].close(code=1012)
    quiet.wait_for_function("() => window.ways.length > 0")
    assert quiet.evaluate("window.ways") == ["connected sse"]


def test_the_socket_is_tried_again_after_1_3_9_27_81_seconds(portal: RunningPortal, quiet: Page) -> None:
    Blocked(quiet)
    waits: list[float] = []
    quiet.on("console", lambda message: waits.extend(_waits(message.text)))
    quiet.clock.install()
    quiet.goto(f"{portal.url}/?live=debug")
    for attempt in range(1, 7):
        until(lambda attempt=attempt: len(waits) >= attempt, quiet)  # type: ignore[misc]
        quiet.clock.fast_forward("02:03")
    for wait, usual in zip(waits, (1, 3, 9, 27, 81, 81), strict=False):
        assert 0.5 * usual <= wait <= 1.5 * usual


def _waits(text: str) -> list[float]:
    return [int(found) / 1000 for found in re.findall(r"the socket closed with .* next try in (\d+) ms", text)]


def test_a_chart_goes_on_while_the_page_polls(portal: RunningPortal, quiet: Page) -> None:
    Blocked(quiet)
    quiet.route(STREAM, lambda route: route.abort())
    quiet.goto(f"{portal.url}/servers/{server_id(portal, 'sim-web-03')}/")
    state(quiet, "connected")
    quiet.locator("#panel-cpu summary").click()
    newest = quiet.locator("#panel-cpu tr[data-at]").first
    before = newest.get_attribute("data-at") or ""
    expect(newest).not_to_have_attribute("data-at", before, timeout=40_000)


def test_too_many_pages_of_one_person_are_said_and_wait_a_minute(portal: RunningPortal, quiet: Page) -> None:
    blocked = Blocked(quiet, code=4429)
    quiet.goto(portal.url)
    expect(status(quiet).locator("[data-notice=crowded]")).to_be_visible()
    expect(status(quiet)).to_have_attribute("data-state", "connected")
    comes_by(quiet, "Polling")
    hide(quiet)
    hide(quiet, hidden=False)
    quiet.wait_for_timeout(3_000)
    assert len(blocked.tried_at) == 1


def test_signed_out_is_said_in_the_header_too_also_without_a_socket(portal: RunningPortal, quiet: Page) -> None:
    Blocked(quiet)
    quiet.route(STREAM, lambda route: route.abort())
    quiet.goto(portal.url)
    state(quiet, "connected")
    gone: Callable[[Route], None] = lambda route: route.fulfill(status=401, json={"error": "Unauthorized"})  # noqa: E731
    quiet.route(STATE, gone)
    expect(status(quiet)).to_have_attribute("data-reason", "signed-out", timeout=30_000)
    expect(quiet.locator("#connection")).to_have_text(re.compile(r"^\s*Signed out\s*$"), use_inner_text=True)


# --- What is watched ----------------------------------------------------------------------------------------------


def test_what_is_watched_follows_what_is_on_the_screen(portal: RunningPortal, page: Page) -> None:
    wire = Wire.of(page)
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(portal.url)
    state(page, "connected")
    ids = page.locator("article.card").evaluate_all("cards => cards.map(card => card.dataset.live)")
    assert 0 < len(wire.servers) < len(ids) // 2
    assert ids[0] in wire.servers
    assert ids[-1] not in wire.servers

    said, began = len(wire.said), time.monotonic()
    for _ in range(40):
        page.mouse.wheel(0, 150)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    until(lambda: ids[-1] in wire.servers, page)
    scrolled_s = time.monotonic() - began
    assert len([message for message in wire.said[said:] if "watch" in message]) <= 2 + scrolled_s / SCROLL_SAYS_S
    until(lambda: ids[0] not in wire.servers, page)
    assert "fleet" in wire.watched
    assert "alerts" in wire.watched


def test_a_card_that_is_scrolled_in_gets_its_state_at_once(portal: RunningPortal, page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(portal.url)
    state(page, "connected")
    last = page.locator("article.card").last
    last.evaluate("card => card.querySelector('.card-name a').textContent = 'long ago'")
    last.scroll_into_view_if_needed()
    expect(last.locator(".card-name a")).not_to_have_text("long ago", timeout=3_000)


def test_what_has_the_focus_is_watched_wherever_it_is(portal: RunningPortal, page: Page) -> None:
    wire = Wire.of(page)
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto(portal.url)
    state(page, "connected")
    last = page.locator("article.card").last
    topic = last.get_attribute("data-live") or ""
    last.locator("a").first.evaluate("link => link.focus({preventScroll: true})")
    until(lambda: topic in wire.servers, page)


# --- How often ----------------------------------------------------------------------------------------------------


def test_a_hidden_page_asks_for_almost_nothing_and_is_right_when_it_is_shown(portal: RunningPortal, page: Page) -> None:
    wire = Wire.of(page)
    page.goto(portal.url)
    state(page, "connected")
    hide(page)
    until(lambda: wire.watched == {"alerts"}, page)
    assert wire.pace() == "60"
    card = page.locator(f"#server-{server_id(portal, 'sim-web-01')}")
    before = card.get_attribute("data-at") or ""
    wire.heard.clear()
    page.wait_for_timeout(5_000)
    assert sum(map(len, wire.heard)) < 2_000, "beats"
    assert card.get_attribute("data-at") == before
    hide(page, hidden=False)
    expect(card).not_to_have_attribute("data-at", before, timeout=3_000)
    assert wire.pace() == "high"


def test_who_does_nothing_for_five_minutes_gets_less_until_they_do(portal: RunningPortal, page: Page) -> None:
    wire = Wire.of(page)
    page.clock.install()
    page.goto(portal.url)
    state(page, "connected")
    page.clock.fast_forward("05:20")
    until(lambda: wire.pace() == "15", page)
    page.keyboard.press("Shift")
    until(lambda: wire.pace() == "high", page)


def test_a_narrow_line_gets_less(portal: RunningPortal, page: Page) -> None:
    wire = Wire.of(page)
    page.add_init_script(
        """Object.defineProperty(Navigator.prototype, "connection", {get: () => window.line ??= Object.assign(
            new EventTarget(), {effectiveType: "2g", saveData: false})});"""
    )
    page.goto(portal.url)
    state(page, "connected")
    assert wire.pace() == "5"
    page.evaluate("navigator.connection.effectiveType = '4g'; navigator.connection.dispatchEvent(new Event('change'))")
    until(lambda: wire.pace() == "high", page)


def test_reconnect_all_opens_everything_anew(portal: RunningPortal, page: Page) -> None:
    wire = Wire.of(page)
    page.goto(portal.url)
    state(page, "connected")
    toggle(page).click()
    page.evaluate("document.addEventListener('live:refresh', () => (window.refreshed = true))")
    status(page).get_by_role("button", name="Reconnect all").click()
    until(lambda: len(wire.sockets) == 2, page)
    state(page, "connected")
    assert page.evaluate("window.refreshed")
    page.evaluate("localStorage.clear()")


def test_debug_says_topic_size_age_and_way_of_each_frame(portal: RunningPortal, page: Page) -> None:
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{portal.url}/?live=debug")
    line = re.compile(r"^live: server:\d+ \d+ characters, -?\d+ ms old, by socket$")
    until(lambda: any(map(line.match, said)), page)


# --- What it costs ------------------------------------------------------------------------------------------------


@pytest.fixture
def feed() -> Iterator[Feed]:
    feed = Feed()
    yield feed
    feed.stop()


def test_a_hundred_cards_that_change_each_second_leave_the_page_idle(
    chromium: Browser, portal: RunningPortal, quiet: Page, feed: Feed
) -> None:
    feed.attach(quiet)
    quiet.set_viewport_size({"width": 2200, "height": 1500})
    quiet.goto(portal.url)
    until(lambda: bool(feed.sockets), quiet)
    cards: list[str] = quiet.evaluate(
        """() => {
            const grid = document.getElementById("cards");
            const known = [...grid.children].filter(card => card.querySelector(".spark"));
            for (const card of [...grid.children]) if (!known.includes(card)) card.remove();
            for (let n = grid.children.length; n < 100; n++) {
                const card = known[n % known.length].cloneNode(true);
                card.id = `server-${9000 + n}`;
                card.dataset.live = `server:${9000 + n}`;
                grid.append(card);
            }
            for (const time of grid.querySelectorAll("time")) time.removeAttribute("title"); // the page's own
            const sent = { "↓": "&darr;", "↑": "&uarr;" }; // as the portal writes them
            return [...grid.children].map(card => card.outerHTML.replace(/[↓↑]/g, arrow => sent[arrow]));
        }"""
    )
    _send(quiet, feed, cards, range(1, 3))
    with measured(chromium, quiet) as busy:
        _send(quiet, feed, cards, range(3, 8))
    expect(quiet.locator("article.card").last).to_have_attribute("data-at", "7")
    expect(quiet.locator("article.card").last.locator(".spark polygon")).to_have_attribute("points", _line(7))
    with measured(chromium, quiet) as replaced:
        _replace(quiet, cards, range(8, 13))
    expect(quiet.locator("article.card").last).to_have_attribute("data-at", "12")
    assert len(cards) == 100
    assert busy.parts["paint"] > 0, "all of it is drawn"
    print(f"main thread: {busy}; cards replaced: {replaced}")
    assert busy.total < MOST_BUSY * replaced.total, f"{busy}; replaced: {replaced}"


def _send(page: Page, feed: Feed, cards: list[str], seconds: range) -> None:
    for second in seconds:
        feed.sockets[-1].send("\n".join(_another(card, second) for card in cards))
        page.wait_for_timeout(1_000)


def _replace(page: Page, cards: list[str], seconds: range) -> None:
    """What a page does that puts in what it is sent as it is."""
    for second in seconds:
        page.evaluate(_REPLACE, [_another(card, second) for card in cards])
        page.wait_for_timeout(1_000)


def _another(card: str, second: int) -> str:
    """The card with other numbers, bars and another line, and data of another second."""
    card = re.sub(r"\d+\.\d%", lambda found: f"{10 + (ord(found[0][0]) + 7 * second) % 80}.{second}%", card)
    card = re.sub(r'class="bar w\d+"', f'class="bar w{10 + 7 * second}"', card)
    card = re.sub(r"[\d.]+ ([KM]B/s)", rf"{second + 1}.{second} \1", card)
    card = re.sub(r'points="[^"]*"', f'points="{_line(second)}"', card)
    card = re.sub(r'datetime="[^"]*"', f'datetime="{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"', card)
    return re.sub(r'data-at="\d+"', f'data-at="{second}"', card)


def _line(second: int) -> str:
    """Sixty places, as a card's line has."""
    shape = " ".join(f"{place} {20 + (place + second) % 4 // 2}" for place in range(60))
    return f"-3 46 -3 20 {shape} 62 20 62 46"
