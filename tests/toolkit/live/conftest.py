"""A topic whose state a test sets, sockets' ends in the hub, and the whole portal behind a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
import uvicorn
from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.test import Client
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from portal.accounts.models import User
from portal.embedded.serve import Server
from portal.toolkit.live import hub as hub_module
from portal.toolkit.live import topic as topic_module
from portal.toolkit.live import watcher as watcher_module
from portal.toolkit.live.frame import Frame
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.protocol import HttpProtocol, LiveProtocol
from portal.toolkit.live.topic import Address, Topic
from portal.toolkit.live.watcher import Watcher

QUICK_S = 0.2


class Gauge(Topic):
    """`gauge:<key>` shows values[key]; who is in `strangers` may not watch."""

    name = "gauge"

    def __init__(self, name: str = "gauge") -> None:
        self.name = name  # type: ignore[misc]
        self.values: dict[str, object] = {}
        self.at_ms = 1
        self.rendered: list[tuple[list[str], str]] = []
        self.strangers: set[int] = set()
        self.error: Exception | None = None

    def admit(self, user: AbstractBaseUser, key: str) -> str | None:
        return None if user.pk in self.strangers or key.startswith("secret") else key

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        self.rendered.append((sorted(keys), language))
        if self.error:
            raise self.error
        return {
            key: f'<b id="{self.name}-{key}" data-at="{self.at_ms}">{self.values.get(key, 0)}</b>'
            for key in keys
            if self.values.get(key) != "gone"
        }


class End:
    """One socket's end in the hub: the frames that it was sent, and when."""

    def __init__(self, hub: Hub, *, language: str = "en") -> None:
        self.hub = hub
        self.frames: list[tuple[float, str]] = []
        self.stalled = False
        self.reads = asyncio.Event()
        self.reads.set()
        self.watcher = Watcher(self._take, language=language, on_control=lambda said: None, on_stalled=self._on_stalled)

    async def _take(self, frame: Frame) -> None:
        await self.reads.wait()
        self.frames.append((asyncio.get_running_loop().time(), frame.text))

    def _on_stalled(self) -> None:
        self.stalled = True

    def watch(self, *addresses: str) -> End:
        self.hub.watch(self.watcher, [parsed(address) for address in addresses])
        return self

    def join(self) -> End:
        self.hub.join(self.watcher)
        return self

    def leave(self) -> None:
        self.hub.leave(self.watcher)

    @property
    def bodies(self) -> list[str]:
        """What each frame shows, without beats; frames of a beat alone are left out."""
        shown = [" ".join(re.findall(r"<b [^>]*>([^<]*)</b>", frame)) for _, frame in self.frames]
        return [body for body in shown if body]

    async def gets(self, body: str, *, within_s: float = 3.0) -> float:
        """Wait for a frame that shows `body`; the seconds it took."""
        started = time.monotonic()
        while body not in self.bodies:
            if time.monotonic() - started > within_s:
                raise AssertionError(f"{body!r} did not come within {within_s} s, but {self.bodies}")
            await asyncio.sleep(0.002)
        return time.monotonic() - started


def parsed(text: str) -> Address:
    address = Address.parse(text)
    assert address is not None
    return address


@pytest.fixture
def gauge(monkeypatch: pytest.MonkeyPatch) -> Gauge:
    return add_topic(monkeypatch, Gauge())


def add_topic(monkeypatch: pytest.MonkeyPatch, topic: Gauge) -> Gauge:
    monkeypatch.setitem(topic_module._topics, topic.name, topic)
    return topic


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets may have five frames a second, and the hub looks after itself as often: the same rules, less waiting."""
    monkeypatch.setitem(watcher_module.PACES_S, "high", QUICK_S)
    monkeypatch.setattr(hub_module, "TICK_S", QUICK_S)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """The running loop's hub, with its subscription in place."""
    hub = Hub.of_this_loop()
    await until(lambda: hub.is_hearing)
    yield hub
    await hub.stop()


@pytest.fixture
async def open_end(hub: Hub) -> AsyncIterator[Callable[..., End]]:
    """open_end("gauge:1", …): a socket that watches these and has had its whole state."""
    ends: list[End] = []

    def open_one(*addresses: str, **options: Any) -> End:
        ends.append(End(hub, **options).watch(*addresses).join())
        return ends[-1]

    yield open_one
    for end in ends:
        end.leave()


async def until(holds: Callable[[], object], *, within_s: float = 5.0) -> None:
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < within_s, f"not within {within_s} s"
        await asyncio.sleep(0.01)


class Portal:
    """The portal's ASGI application in a real server, in a thread of this process."""

    def __init__(self) -> None:
        from portal.asgi import application

        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        options: dict[str, Any] = {
            "http": HttpProtocol,
            "ws": LiveProtocol,
            "log_config": None,
            "timeout_graceful_shutdown": 3,
        }
        self._server = Server(uvicorn.Config(application, ws_per_message_deflate=False, **options))
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.ask_to_stop()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def ask_to_stop(self) -> None:
        self._server.should_exit = True

    @contextlib.contextmanager
    def socket(
        self, client: Client, *topics: str, query: str = "", origin: str | None = None, **headers: str
    ) -> Iterator[LiveClient]:
        address = "".join(f"&topic={name}" for name in topics)
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
        with connect(
            f"ws://127.0.0.1:{self.port}/ws/live/?{query}{address}",
            origin=Origin(origin or f"http://127.0.0.1:{self.port}"),
            additional_headers={"Cookie": cookies, **headers},
        ) as open_socket:
            yield LiveClient(open_socket)

    @contextlib.contextmanager
    def deaf_socket(self, client: Client, *topics: str) -> Iterator[socket.socket]:
        """A browser that opens the socket and then reads nothing at all; its connection."""
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items())
        lines = [
            f"GET /ws/live/?{'&'.join(f'topic={name}' for name in topics)} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            f"Origin: http://127.0.0.1:{self.port}",
            f"Cookie: {cookies}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(("127.0.0.1", self.port))
            raw.sendall("\r\n".join([*lines, "", ""]).encode())
            yield raw

    def hears(self) -> None:
        """Wait until orders and touches reach the server's hub; before, a lost one is only made up for later."""
        started = time.monotonic()
        while not any(hub.is_hearing for loop, hub in list(hub_module._hubs.items()) if not loop.is_closed()):
            assert time.monotonic() - started < 5
            time.sleep(0.005)


class LiveClient:
    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, **said: Any) -> None:
        self.socket.send(json.dumps(said))

    def frame(self, timeout_s: float = 10) -> str:
        """The next frame of HTML."""
        while (text := self.text(timeout_s)).startswith("{"):
            pass
        return text

    def answer(self, timeout_s: float = 10) -> dict[str, Any]:
        """The next answer in JSON."""
        while not (text := self.text(timeout_s)).startswith("{"):
            pass
        answer: dict[str, Any] = json.loads(text)
        return answer

    def text(self, timeout_s: float = 10) -> str:
        text = self.socket.recv(timeout_s)
        assert isinstance(text, str)
        return text


@pytest.fixture
def portal(transactional_db: None) -> Iterator[Portal]:
    portal = Portal()
    portal.start()
    yield portal
    portal.stop()


@pytest.fixture
def reader(transactional_db: None) -> User:
    return User.objects.create_user("reader", "reader@example.com", "a long enough pass")


@pytest.fixture
def browser(reader: User) -> Client:
    """A browser in which the reader is signed in."""
    client = Client()
    client.force_login(reader, backend=settings.AUTHENTICATION_BACKENDS[0])
    return client
