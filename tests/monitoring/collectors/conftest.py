from __future__ import annotations

from collections.abc import Callable, Iterator
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
