"""What a page sends and hears over the live socket and what covers for it, as a test sees it from outside."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Page, Request, WebSocket

HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
    Object.defineProperty(document, "visibilityState", {configurable: true, get: () => hidden ? "hidden" : "visible"});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@dataclass
class Wire:
    """Attach before the page goes anywhere."""

    sockets: list[str] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Paths of requests to the live endpoints."""
    watched: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, page: Page) -> Wire:
        wire = cls()
        page.on("websocket", wire._opened)
        page.on("request", wire._requested)
        return wire

    @property
    def servers(self) -> set[str]:
        return {topic for topic in self.watched if topic.startswith("server:")}

    def pace(self) -> str:
        """The last that was asked for."""
        said = [message["pace"] for message in self.said if "pace" in message]
        return str(said[-1]) if said else parse_qs(urlsplit(self.sockets[-1]).query)["pace"][0]

    def _opened(self, socket: WebSocket) -> None:
        self.sockets.append(socket.url)
        self.said.clear()
        self.watched = set(parse_qs(urlsplit(socket.url).query).get("topic", []))
        socket.on("framesent", lambda payload: self._sent(str(payload)))
        socket.on("framereceived", lambda payload: self.heard.append(str(payload)))

    def _sent(self, text: str) -> None:
        message = json.loads(text)
        self.said.append(message)
        self.watched |= set(message.get("watch", []))
        self.watched -= set(message.get("unwatch", []))

    def _requested(self, request: Request) -> None:
        path = urlsplit(request.url).path
        if path in ("/api/monitoring/stream", "/api/monitoring/state"):
            self.asked.append(f"{request.method} {path}")


def hide(page: Page, hidden: bool = True) -> None:
    """A headless browser shows every page: the page is told otherwise."""
    page.evaluate(HIDE, hidden)
