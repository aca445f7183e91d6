"""No secret of the portal, and nothing that looks like one, gets into what is followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitoring.following import hush
from monitoring.following.hush import hushed
from portal.toolkit.tokens import new_text

SECRET = "s3cret-And-long"


@pytest.fixture(autouse=True)
def known_anew(settings: Any, tmp_path: Path) -> Iterator[None]:
    settings.DATA_DIR = tmp_path
    hush._known.cache_clear()
    yield
    hush._known.cache_clear()


@pytest.mark.parametrize(
    "line",
    [
        f"connecting to postgresql://om:{SECRET}@db/om",
        f"Authorization: Bearer {SECRET}",
        f"{{'Authorization': 'Basic {SECRET}'}}",
        f'{{"event": "x", "password": "{SECRET}"}}',
        f"password={SECRET} user=x",
        f"POSTGRES_PASSWORD: {SECRET}",
        f"Cookie: sessionid={SECRET}; theme=dark",
        f"csrfmiddlewaretoken={SECRET}&x=1",
        f"api_key = '{SECRET}'",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"UTC [1] STATEMENT:  UPDATE t SET a = 'it''s', b = '{SECRET}'",  # noqa: S608
        f"DETAIL:  Key (digest)=({SECRET}) already exists.",
        f"DETAIL:  Failing row contains (1, {SECRET}, null).",
        f"CONTEXT:  unnamed portal with parameters: $1 = '{SECRET}'",
    ],
)
def test_what_looks_like_a_secret_is_hidden(line: str) -> None:
    said = hushed(line)
    assert SECRET not in said
    assert hush.HIDDEN in said


@pytest.mark.parametrize("prefix", ["omp_", "omr_"])
def test_tokens_are_hidden_wherever_they_stand(prefix: str) -> None:
    token = new_text(prefix)
    assert token not in hushed(f"somebody sent {token}!")


def test_the_address_of_a_job_is_hidden() -> None:
    assert hushed("GET /ping/0b6ec2ad-2a6f-4c52-a9c9-9f6e9f0a3a11/0") == f"GET /ping/{hush.HIDDEN}/0"


def test_the_portals_own_secrets_are_hidden_in_any_words(settings: Any, tmp_path: Path) -> None:
    settings.SECRET_KEY = "of the settings 1"
    settings.ENCRYPTION_KEYS = ("the encryption key",)
    settings.REDIS_URL = "redis://:the%20redis%20password@cache/0"
    made = {"demo_password": "of the demo account", "push_token": "a push token", "port": 8000}
    (tmp_path / "secrets.json").write_text(json.dumps(made))
    said = hushed("of the settings 1, the encryption key, the redis password, of the demo account, a push token")
    assert said == ", ".join([hush.HIDDEN] * 5)


@pytest.mark.parametrize(
    "line",
    [
        "OpenManager is ready: http://127.0.0.1:8000/  user demo",
        "token_id=5 tokens=7 keys: 3",
        "GET /static/app.js 200",
        "LOG:  checkpoint complete: wrote 12 buffers",
        "it's a line with 'quotes' and (brackets)",
        "2026-11-21T10:00:00Z http://host:8000/path",
    ],
)
def test_other_lines_stay_as_they_are(line: str) -> None:
    assert hushed(line) == line
