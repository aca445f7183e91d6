"""Every operation against its own description, asked with what nobody would think of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from monitoring.models import ServerState
from tests.cast import Cast
from tests.portal.api.conftest import token_of

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
OPERATIONS = (
    "/api/dashboard",
    "/api/monitoring/servers",
    "/api/monitoring/performance",
    "/api/system/redis",
    "/api/monitoring/stream",
    "/api/monitoring/state",
)
EXAMPLES = 25


@pytest.fixture(autouse=True)
def one_connection() -> Iterator[None]:
    """The requests share the test's connection, as those of Django's own test client do."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.parametrize("path", OPERATIONS)
def test_answers_are_as_described_whatever_is_asked(cast: Cast, now: int, have: Callable[..., None], path: str) -> None:
    have(cast.server, now - 5_000, cpu=1.0, memory=2.0, net_rx=3.0, memory_total=4.0)
    type(cast.server).objects.update(state=ServerState.WARNING)
    _, headers = token_of(cast.owner)
    described = schemathesis.openapi.from_wsgi("/api/openapi.json", get_wsgi_application())
    operation = described[path]["GET"]
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        _ask(operation.as_strategy(generation_mode=mode), {**headers, "Accept-Encoding": "identity"})


def _ask(cases: Any, headers: dict[str, str]) -> None:
    @given(case=cases)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def asked(case: Case) -> None:
        case.call_and_validate(headers=headers, checks=CHECKS)

    asked()


def test_a_described_number_that_is_a_word_would_be_found(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above could not fail."""
    monkeypatch.setattr("monitoring.api.dashboard._network", lambda table: _Words(len(table.values)))
    with pytest.raises(BaseExceptionGroup):
        test_answers_are_as_described_whatever_is_asked(cast, 0, lambda *_, **__: None, "/api/dashboard")


class _Words:
    def __init__(self, count: int) -> None:
        self._count = count

    def tolist(self) -> list[str]:
        return ["much"] * self._count
