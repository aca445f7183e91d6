from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from monitoring.models import Collector, Server, Source
from tests.programs import running_exporter


@pytest.fixture
def loopback_is_allowed(settings: Any) -> None:
    settings.SCRAPE_ALLOW = ["127.0.0.0/8"]


@pytest.fixture
def make_source(make_server: Callable[..., Server]) -> Callable[..., Source]:
    """A source of a server of its own, due since long."""

    def make(url: str = "", name: str = "alpha", **fields: Any) -> Source:
        collector = Collector.PROMETHEUS if url else Collector.HOST
        return Source.objects.create(server=make_server(name), collector=collector, url=url, **fields)

    return make


@pytest.fixture(scope="session")
def node_exporter() -> Iterator[str]:
    """The URL of a running one."""
    with running_exporter() as url:
        yield url


@contextmanager
def relayed(socket_path: str) -> Iterator[int]:
    """A port of this machine behind which whoever listens at `socket_path` answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_relay, args=(listener, socket_path), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _relay(listener: socket.socket, socket_path: str) -> None:
    while True:
        try:
            near, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_join, args=(near, socket_path), daemon=True).start()


def _join(near: socket.socket, socket_path: str) -> None:
    with near, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as far:
        far.connect(socket_path)
        back = threading.Thread(target=_pipe, args=(far, near), daemon=True)
        back.start()
        _pipe(near, far)
        back.join()


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
