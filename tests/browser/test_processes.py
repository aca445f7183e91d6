"""`up --web 2 --live 2 --intake 1`: pages, what is pushed and what is sent have processes of their own; two watch."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from portal.embedded.running import CHILDREN, RunningPortal, remove_data
from portal.system.bench._chromium import sign_in
from portal.toolkit.live.socket import SIGNED_OUT
from tests.browser.test_connection import hanging, state
from tests.embedded.test_up import nothing_runs

pytestmark = pytest.mark.slow

WEB, LIVE = {"web", "web-2"}, {"live", "live-2"}
HOST = "twin-1"
SHOWN = """([host, value]) => {
    window.shown = new Promise((resolve) => {
        const look = () => {
            const card = [...document.querySelectorAll("article.card")].find((card) => card.textContent.includes(host));
            const values = [...(card?.querySelectorAll("dd") ?? [])].map((element) => element.textContent.trim());
            if (values.some((text) => text.startsWith(value))) resolve(Date.now());
            else setTimeout(look, 10);
        };
        look();
    });
}"""

NO_SOCKET = """window.WebSocket = class extends EventTarget {
    static OPEN = 1;
    constructor() { super(); setTimeout(() => this.dispatchEvent(new CloseEvent("close", { code: 1006 }))); }
    close() {}
};"""
NO_STREAM = """window.EventSource = class extends EventTarget {
    constructor() { super(); setTimeout(() => this.dispatchEvent(new Event("error"))); }
    close() {}
};"""
"""Not routed: what Playwright routes it also permits, where the browser would have asked first."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    """Stopped at the end, it leaves nothing."""
    data = tmp_path_factory.mktemp("processes") / "var"
    portal = RunningPortal.start(data, web=2, live=2, intake=1)
    try:
        yield portal
        assert portal.stop() == 0
        assert nothing_runs(data, 2)
    finally:
        portal.kill_all()
        remove_data(data)


def push(portal: RunningPortal, cpu: float) -> None:
    """Kept when it returns."""
    body = json.dumps({"host": HOST, "at": time.time(), "metrics": {"cpu": cpu}}).encode()
    headers = {"Authorization": f"Bearer {portal.demo['push_token']}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{portal.demo['intake_url']}/api/push", body, headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert json.loads(answer.read())["kept"] == 1


def answers(base: str) -> str:
    """Which process answers a probe, over a connection of its own."""
    with urllib.request.urlopen(f"{base}/readyz", timeout=10) as answer:
        name: str = json.loads(answer.read())["process"]
    return name


def names(base: str, wanted: set[str]) -> set[str]:
    """Which processes answer there; asked again until all that are wanted have, for 30 s at most."""
    found: set[str] = set()
    deadline = time.monotonic() + 30
    while not found >= wanted and time.monotonic() < deadline:
        found.add(answers(base))
    return found


# --- Processes and their sockets --------------------------------------------------------------------------------------


def test_each_has_processes_of_its_own_that_say_themselves_that_they_are_ready(running: RunningPortal) -> None:
    assert set(running.pids()) - {"start"} == CHILDREN | WEB | LIVE | {"intake"}
    assert names(running.url, WEB) == WEB
    assert names(running.demo["live_url"], LIVE) == LIVE


def test_a_listening_socket_is_held_by_those_who_serve_it_and_by_nobody_else(running: RunningPortal) -> None:
    doors = {"web": running.url, "live": running.demo["live_url"], "intake": running.demo["intake_url"]}
    for door, url in doors.items():
        holders = {name for name, pid in running.pids().items() if listens(pid, urlsplit(url).port)}
        assert holders == {name for name in running.pids() if name.partition("-")[0] == door}


def listens(pid: int, port: int | None) -> bool:
    """One that ended since it was listed, as those that only prepare something do, listens to nothing."""
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == port for each in connections)


def test_a_process_that_hangs_is_not_waited_for_by_anybody_else(running: RunningPortal) -> None:
    with hanging(running, "web"):
        assert {answers(running.url) for _ in range(20)} == {"web-2"}
    assert names(running.url, WEB) == WEB


def test_nobody_is_refused_when_a_web_process_is_killed_and_it_comes_back(running: RunningPortal) -> None:
    killed = running.kill("web")
    psutil.wait_procs([psutil.Process(killed)] if psutil.pid_exists(killed) else [], 5)
    for _ in range(20):
        answers(running.url)
    running.wait_for_another("web", killed)
    assert names(running.url, WEB) == WEB


def test_what_is_live_is_there_and_pages_are_not(running: RunningPortal) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{running.demo['live_url']}/accounts/login/", timeout=10)


def test_the_socket_is_for_the_page_of_the_portal_and_for_no_other_port(running: RunningPortal) -> None:
    place = running.demo["live_url"].replace("http", "ws", 1)
    with (
        connect(f"{place}/ws/live/", origin=Origin(running.url)) as socket,
        pytest.raises(ConnectionClosedError) as end,
    ):
        socket.recv(10)
    assert end.value.rcvd
    assert end.value.rcvd.code == SIGNED_OUT, "heard, and nobody is signed in"
    for other in (running.demo["live_url"], running.demo["intake_url"], "http://localhost:1"):
        with pytest.raises(InvalidStatus, match="403"), connect(f"{place}/ws/live/", origin=Origin(other)):
            pass


# --- Two people who watch ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(chromium: Browser, running: RunningPortal) -> Iterator[BrowserContext]:
    push(running, 1)
    context = chromium.new_context(locale="en-GB")
    context.set_default_timeout(15_000)
    page = context.new_page()
    sign_in(page, running.url, running.demo["username"], running.demo["password"])
    page.close()
    yield context
    context.close()


@pytest.fixture
def two(session: BrowserContext, running: RunningPortal) -> Iterator[tuple[Page, Page]]:
    """Two pages that two processes push to: live-2 to the first, live to the second."""
    with hanging(running, "live"):
        one = opened(session, running)
    with hanging(running, "live-2"):
        other = opened(session, running)
    yield one, other
    one.close()
    other.close()


def opened(session: BrowserContext, portal: RunningPortal) -> Page:
    page = session.new_page()
    page.goto(f"{portal.url}/?q={HOST}")
    state(page, "connected")
    return page


def epoch(page: Page) -> str | None:
    return page.locator("#live-beat").get_attribute("data-epoch")


def both_show(portal: RunningPortal, two: tuple[Page, Page], value: int) -> list[float]:
    """Push the value; when each page showed it, in ms."""
    for page in two:
        page.evaluate(SHOWN, [HOST, str(value)])
    push(portal, value)
    return [page.evaluate("window.shown") for page in two]


def test_two_browsers_on_two_processes_show_the_same_within_a_second(
    running: RunningPortal, two: tuple[Page, Page]
) -> None:
    assert epoch(two[0]) != epoch(two[1])
    times = [both_show(running, two, value) for value in (21, 43, 65)]
    assert min(abs(one - other) for one, other in times) < 1000


def test_a_page_is_pushed_to_from_the_port_of_the_live_processes(
    running: RunningPortal, session: BrowserContext
) -> None:
    page = session.new_page()
    with page.expect_websocket() as opened_one:
        page.goto(running.url)
    assert opened_one.value.url.startswith(running.demo["live_url"].replace("http", "ws", 1) + "/ws/live/")
    page.close()


def sent(answer: Response) -> dict[str, str]:
    return answer.request.headers


@pytest.mark.parametrize(("missing", "path"), [([NO_SOCKET], "stream"), ([NO_SOCKET, NO_STREAM], "state")])
def test_where_no_socket_comes_through_it_is_the_same_port_that_is_asked(
    running: RunningPortal, session: BrowserContext, missing: list[str], path: str
) -> None:
    page = session.new_page()
    for script in missing:
        page.add_init_script(script)
    live = f"{running.demo['live_url']}/api/monitoring/{path}?"
    with page.expect_response(lambda answer: answer.url.startswith(live) and answer.ok):
        page.goto(f"{running.url}/?q={HOST}")
    state(page, "connected")
    page.evaluate(SHOWN, [HOST, "87"])
    push(running, 87)
    page.evaluate("window.shown")
    if path == "state":  # a question with a header for which the browser asks first whether it may
        page.wait_for_event("response", lambda answer: answer.url.startswith(live) and "if-none-match" in sent(answer))
    page.close()


def test_a_killed_process_under_two_watching_pages_heals_and_the_other_page_notices_nothing(
    running: RunningPortal, two: tuple[Page, Page]
) -> None:
    before = [epoch(page) for page in two]
    killed = running.kill("live")
    running.wait_for_another("live", killed)
    both_show(running, two, 77)
    for page in two:
        state(page, "connected")
    assert epoch(two[0]) == before[0]
    assert epoch(two[1]) != before[1]


def test_without_redis_both_keep_what_they_have_and_heal_within_10_seconds(
    running: RunningPortal, two: tuple[Page, Page]
) -> None:
    both_show(running, two, 31)
    processes = running.pids()
    card = two[0].locator("article.card").first
    topic = card.get_attribute("data-live")
    with hanging(running, "redis"):
        for page in two:
            state(page, "unknown")
            expect(page.locator("article.card").first).to_contain_text("31")
        push(running, 58)
        polled = two[0].request.get(f"{running.demo['live_url']}/api/monitoring/state?topic={topic}")
        assert "58" in polled.text(), "read from PostgreSQL"
        for page in two:
            page.evaluate(SHOWN, [HOST, "58"])
    back = time.time()
    for page in two:
        expect(page.locator("#live-status")).to_have_attribute("data-state", "connected", timeout=10_000)
        assert page.evaluate("window.shown") / 1000 < back + 10
    assert running.pids() == processes, "nothing was started again"
