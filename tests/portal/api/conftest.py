from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from monitoring import hot, hot_table
from monitoring.history import partitions, series
from monitoring.history.frame import Frame
from monitoring.history.record import record
from portal.accounts import tokens
from portal.accounts.models import ReadToken, User
from portal.toolkit.cache import cache
from portal.toolkit.redis import client
from tests.cast import Cast, make_cast

Headers = dict[str, str]


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """Tests roll back what they made, so what this process and Redis remember of it must go too."""
    partitions.forget()
    series._plans.clear()
    hot._shapes.clear()
    hot_table._known.clear()
    tokens._known.clear()
    cache.clear()
    client().flushdb()
    yield
    client().flushdb()


@pytest.fixture
def cast(db: None) -> Cast:
    return make_cast()


@pytest.fixture
def now() -> int:
    """Epoch ms."""
    return int(timezone.now().timestamp() * 1000) // 5000 * 5000


@pytest.fixture
def have() -> Callable[..., None]:
    """`have(server, at_ms, cpu=1.0)`: a sample of each named metric."""

    def recorded(server: Any, at_ms: int, **values: float) -> None:
        record([Frame.of(server.pk, at_ms, values)], origin="test")

    return recorded


def token_of(person: User, name: str = "script", **fields: Any) -> tuple[ReadToken, Headers]:
    """A saved read token, and the headers that a program sends with it."""
    token = ReadToken(person=person, name=name, **fields)
    text = tokens.give_text(token)
    token.save()
    return token, {"Authorization": f"Bearer {text}"}


def program() -> Client:
    """Something without cookies that asks the API."""
    return Client(raise_request_exception=False)
