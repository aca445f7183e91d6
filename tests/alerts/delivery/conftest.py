"""A mail server that can be told to misbehave, and mails that wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from portal.system.bench._smtp import FaultyMailServer


@pytest.fixture
def server(settings: Any) -> Iterator[FaultyMailServer]:
    with FaultyMailServer.running() as server:
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        yield server
