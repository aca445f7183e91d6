from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from monitoring import hot, hot_table
from monitoring.history import partitions, series
from monitoring.models import Server, ServerGroup
from portal.toolkit.redis import client


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Tests roll back what they made, so what this process remembers of it must go too."""
    partitions.forget()
    series._plans.clear()
    hot._shapes.clear()
    hot_table._known.clear()


@pytest.fixture
def empty_redis() -> Iterator[None]:
    client().flushdb()
    yield
    client().flushdb()


@pytest.fixture
def group(db: None) -> ServerGroup:
    return ServerGroup.objects.create(name="Machines")


@pytest.fixture
def make_server(group: ServerGroup) -> Callable[..., Server]:
    def make(name: str = "alpha", **fields: object) -> Server:
        return Server.objects.create(**{"name": name, "group": group, **fields})

    return make


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server()
