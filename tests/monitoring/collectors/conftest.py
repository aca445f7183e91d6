from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from monitoring.models import Collector, Server, Source


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
    """Debian's prometheus-node-exporter on a free port; its URL."""
    program = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    if program is None:
        pytest.skip("prometheus-node-exporter is not installed (Debian package prometheus-node-exporter)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}/metrics"
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")
