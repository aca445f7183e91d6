"""`up --intake 1`: what programs send has a process of its own, and survives the death of PostgreSQL and of itself."""

from __future__ import annotations

import gzip
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.embedded.running import RunningPortal, running_portal


@pytest.fixture(scope="module")
def running() -> Iterator[RunningPortal]:
    with tempfile.TemporaryDirectory(prefix="om-") as name, running_portal(Path(name) / "var", intake=1) as portal:
        yield portal


def send(portal: RunningPortal, base: str, said: Any, **headers: str) -> tuple[int, dict[str, Any], Any]:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    named |= {"Authorization": f"Bearer {portal.demo['push_token']}", "Content-Type": "application/json"}
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    asked = urllib.request.Request(f"{base}/api/push", body, named)
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, json.loads(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), error.headers


def until_kept(portal: RunningPortal, said: Any) -> list[int]:
    """As a sender does: again until it is taken; the statuses on the way."""
    statuses: list[int] = []
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            statuses.append(send(portal, portal.demo["intake_url"], said)[0])
        except OSError:
            statuses.append(0)
        if statuses[-1] == 200:
            return statuses
        time.sleep(0.1)
    raise AssertionError(f"{statuses}\n{portal.report()}")


def test_both_processes_take_what_is_sent_with_the_demo_token(running: RunningPortal) -> None:
    said = {"host": "web-1", "at": time.time(), "metrics": {"cpu": 1.5}}
    assert running.demo["intake_url"] != running.url
    for base in (running.demo["intake_url"], running.url):
        packed = send(running, base, gzip.compress(json.dumps(said).encode()), Content_Encoding="gzip")
        assert (packed[0], packed[1]["kept"]) == (200, 1)


def test_a_bomb_is_413_within_a_second(running: RunningPortal) -> None:
    bomb = gzip.compress(b" " * 400_000_000, 9)
    began = time.monotonic()
    assert send(running, running.demo["intake_url"], bomb, Content_Encoding="gzip")[0] == 413
    assert time.monotonic() - began < 5  # a tenth of a second on an idle machine


def test_pages_are_not_there(running: RunningPortal) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{running.demo['intake_url']}/accounts/login/", timeout=10)
    with caught.value as answer:
        assert answer.code == 404


def test_without_postgresql_it_is_503_until_it_is_back(running: RunningPortal) -> None:
    said = {"host": "web-1", "at": time.time(), "metrics": {"cpu": 2.5}}
    running.kill("postgres")
    status, answer, headers = send(running, running.demo["intake_url"], said)
    if status != 200:  # it may be back already
        assert (status, answer["error"], headers["Retry-After"]) == (503, "database_away", "5")
    assert set(until_kept(running, said)) <= {503, 200}


def test_a_killed_intake_comes_back(running: RunningPortal) -> None:
    running.kill("intake")
    said = {"host": "web-1", "at": time.time(), "metrics": {"cpu": 3.5}}
    assert set(until_kept(running, said)) <= {0, 200}
