"""`up --intake 1 --syslog PORT`: what programs send has its own processes, which outlive PostgreSQL and themselves."""

from __future__ import annotations

import gzip
import json
import socket
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
    allow = {"PORTAL_SYSLOG_ALLOW": "127.0.0.0/8=demo"}
    with (
        tempfile.TemporaryDirectory(prefix="om-") as name,
        running_portal(Path(name) / "var", env=allow, intake=1, syslog=0) as portal,
    ):
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


# --- Syslog -----------------------------------------------------------------------------------------------------------
def sender_of_syslog(portal: RunningPortal) -> socket.socket:
    host, port = portal.demo["syslog"].split(":")
    return socket.create_connection((host, int(port)), 10)


def message(source: str, number: int) -> bytes:
    return f"<14>1 {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} switch-1 {source} - - - {number}\n".encode()


def numbers(portal: RunningPortal, source: str) -> list[int]:
    """What is kept of the source, by the API; as a sender of syslog is not answered, this is all there is to see."""
    found: list[int] = []
    older = ""
    while True:
        url = f"{portal.url}/api/monitoring/logs?source={source}&limit=1000{older}"
        asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {portal.demo['read_token']}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            page = json.loads(answer.read())
        found += [int(line["text"]) for line in page["lines"]]
        if not page["older"]:
            return sorted(found)
        older = f"&older={page['older']}"


def until_there_are(portal: RunningPortal, source: str, count: int) -> list[int]:
    deadline = time.monotonic() + 60
    while True:
        try:
            found = numbers(portal, source)
        except (urllib.error.HTTPError, OSError):
            found = []
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.3)


def test_syslog_over_tcp_loses_nothing_while_postgresql_is_away(running: RunningPortal) -> None:
    with sender_of_syslog(running) as sender:
        for number in range(3000):
            sender.sendall(message("outage", number))
            if number == 1000:
                running.kill("postgres")
    assert until_there_are(running, "outage", 3000) == list(range(3000)), running.report()


def test_a_killed_syslog_process_comes_back_and_refuses_nobody_meanwhile(running: RunningPortal) -> None:
    running.kill("syslog")
    with sender_of_syslog(running) as sender:
        sender.sendall(message("killed", 7))
    assert until_there_are(running, "killed", 1) == [7], running.report()
