"""What a page's main thread does, as CPU time of that thread: whoever else has the machine does not count."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from playwright.sync_api import Browser, Page
from websockets.sync.server import ServerConnection, serve

_TASK = "RunTask"
_KINDS = {
    "scripts": {"FunctionCall", "EventDispatch", "TimerFire", "ParseHTML", "v8.callFunction", "MinorGC", "MajorGC"},
    "style and layout": {"UpdateLayoutTree", "Layout"},
    "paint": {"PrePaint", "Paint", "Layerize", "Commit"},
}
_CATEGORIES = ["devtools.timeline", "disabled-by-default-devtools.timeline", "v8"]


@dataclass
class Busy:
    """Shares of one core, from 0 to 1: `total`, and what of it was scripts, style and layout, paint, and the rest."""

    total: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(f"{name} {share:.1%}" for name, share in [("total", self.total), *self.parts.items()])


@contextmanager
def measured(browser: Browser, page: Page) -> Iterator[Busy]:
    """Filled when it is left: the busiest page is meant."""
    session = browser.new_browser_cdp_session()
    events: list[dict[str, Any]] = []
    ended: list[object] = []
    session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    session.on("Tracing.tracingComplete", lambda data: ended.append(data))
    session.send("Tracing.start", {"traceConfig": {"includedCategories": _CATEGORIES}})
    busy, began = Busy(), time.monotonic()
    yield busy
    wall_s = time.monotonic() - began
    session.send("Tracing.end")
    while not ended:
        page.wait_for_timeout(20)
    session.detach()
    spent = max((_spent_us(thread) for thread in _main_threads(events)), key=lambda spent: spent.total())
    parts = {name: us / 1e6 / wall_s for name, us in spent.items()}
    busy.total, busy.parts = sum(parts.values()), dict(sorted(parts.items()))


def _main_threads(events: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The timed events of each page's main thread, in the order in which they began."""
    names = {(event["pid"], event["tid"]) for event in events if event.get("args", {}).get("name") == "CrRendererMain"}
    timed = [event for event in events if event["ph"] == "X" and "tdur" in event]
    timed.sort(key=lambda event: (event["tts"], -event["tdur"]))
    return [[event for event in timed if (event["pid"], event["tid"]) == name] for name in names]


def _spent_us(events: Sequence[dict[str, Any]]) -> Counter[str]:
    """CPU time by kind; what happens within a task of one kind is of that kind, unless it is of another itself."""
    spent: Counter[str] = Counter()
    open_: list[tuple[int, str]] = []
    for event in events:
        while open_ and open_[-1][0] <= event["tts"]:
            open_.pop()
        if not open_ and event["name"] != _TASK:
            continue
        outer = open_[-1][1] if open_ else "other"
        kind = next((kind for kind, names in _KINDS.items() if event["name"] in names), outer)
        spent[kind] += event["tdur"]
        if open_:
            spent[outer] -= event["tdur"]
        open_.append((event["tts"] + event["tdur"], kind))
    return spent


class Feed:
    """A live socket of the test's own, in place of the portal's: a real one, as a stand-in within the page costs it."""

    def __init__(self) -> None:
        self.sockets: list[ServerConnection] = []
        self._server = serve(self._heard, "127.0.0.1", 0, compression=None)
        self.place = f"127.0.0.1:{self._server.socket.getsockname()[1]}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def _heard(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        for message in socket:
            if "ping" in (said := json.loads(message)):
                socket.send(json.dumps({"pong": said["ping"]}))

    def attach(self, page: Page) -> None:
        """Before the page goes anywhere: its sockets, whatever their address, are of this one."""
        page.context.new_cdp_session(page).send("Page.setBypassCSP", {"enabled": True})  # of another port than its own
        page.add_init_script(
            f"window.WebSocket = class extends WebSocket {{ constructor() {{ super('ws://{self.place}/'); }} }};"
        )

    def stop(self) -> None:
        self._server.shutdown()
