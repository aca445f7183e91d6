from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from monitoring.ingest import desk, doors, hosts, pace, shelves, tokens
from monitoring.logs import read, retention, take
from monitoring.models import PushToken, ServerGroup
from portal.toolkit.intake import Push

TEXT = "omp_a-token-of-the-tests"


@pytest.fixture(autouse=True)
def nothing_remembered_of_pushes() -> Iterator[None]:
    """Tests roll back what they made, so what this process remembers of it must go too."""
    forget_all()
    yield
    forget_all()


def forget_all() -> None:
    take.forget()
    read.forget()
    retention.forget()
    desk.forget()
    hosts.forget()
    shelves.forget()
    pace.forget()
    tokens._uses.clear()


@pytest.fixture
def make_token(group: ServerGroup) -> Callable[..., PushToken]:
    def make(text: str = TEXT, **fields: Any) -> PushToken:
        token = PushToken(**{"name": f"sender {PushToken.objects.count()}", "group": group, **fields})
        tokens.dress(token, text)
        token.save()
        return token

    return make


@pytest.fixture
def token(make_token: Callable[..., PushToken]) -> PushToken:
    return make_token()


class Heard(NamedTuple):
    """An answer, with a body of any shape."""

    status: int
    body: Any
    headers: Mapping[str, str]
    content_type: str


def push(token: PushToken, said: Any, path: str = "/api/push", **headers: str) -> Heard:
    """What the door says, without the guard before it."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    door = next(door for door in doors.DOORS if door.match(path) is not None)
    answer = door.handler(Push(path, named, body, "10.0.0.7", {}, "POST", door.match(path) or {}), token)
    return Heard(answer.status, answer.body, answer.headers, answer.content_type)
