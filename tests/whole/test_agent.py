"""The agent as a new user runs it, against a whole portal whose web process is killed on the way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from xmlrpc.client import Fault

import httpx
import pytest

from portal.embedded.folders import socket_folder
from portal.embedded.programs import PORTAL
from portal.embedded.running import RunningPortal, running_portal
from portal.embedded.start import control
from portal.system.bench._inside import inside
from tests.agent.conftest import Machine, wait_until

pytestmark = pytest.mark.slow

AWAY_FRAMES = 3
"""How many frames wait before the portal comes back."""


@pytest.fixture
def own_portal() -> Iterator[RunningPortal]:
    """One that may be broken."""
    with tempfile.TemporaryDirectory(prefix="om-") as name, running_portal(Path(name) / "var") as running:
        yield running


def test_a_new_user_sees_the_machine_and_an_outage_leaves_no_hole(
    own_portal: RunningPortal, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = machine.home / "agent.py"
    program.write_bytes(fetched(f"{own_portal.url}/agent.py"))
    told = fetched(f"{own_portal.url}/agent.py.sha256").decode()
    assert told == f"{hashlib.sha256(program.read_bytes()).hexdigest()}  agent.py\n"
    monkeypatch.setattr("tests.agent.conftest.PROGRAM", program)
    machine.url = own_portal.url
    machine.token_file.write_text(own_portal.demo["push_token"])
    assert "All is well" in machine.ask("--check").stdout

    log = machine.home / "shop.log"
    log.write_text("of long ago\n")
    started = machine.start("--file", f"shop={log}")
    wait_until(lambda: (machine.spool / "read-to.json").exists(), "an agent that follows the log")
    with signed_in(own_portal) as browser:
        card = wait_until(lambda: card_of(browser, "web-1"), "the server on the fleet page")
    assert all(re.search(rf"<dt>{word}</dt><dd>[\d.]+%</dd>", card) for word in ("CPU", "Mem", "Disk")), card

    written = [f"line {number} of the shop" for number in range(20)]
    with away(own_portal):
        log.write_text("".join(f"{line}\n" for line in ["of long ago", *written]))
        waiting = wait_until(lambda: len(lines := machine.lines()) >= AWAY_FRAMES and lines, "frames that wait")
    wait_until(lambda: not machine.lines(), "an empty spool")
    assert started.process.poll() is None
    assert {json.loads(line)["at"] for line in waiting} <= set(kept_instants(own_portal, "web-1"))
    wait_until(lambda: kept_lines(own_portal, "web-1") == sorted(written), "every line of the log, once")


def fetched(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=30) as answer:
        content: bytes = answer.read()
        return content


@contextlib.contextmanager
def signed_in(portal: RunningPortal) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=portal.url, follow_redirects=True, timeout=30) as browser:
        form = browser.get("/accounts/login/").text
        csrf = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', form)[-1]
        said = {"login": portal.demo["username"], "password": portal.demo["password"], "csrfmiddlewaretoken": csrf}
        browser.post("/accounts/login/", data=said, headers={"Referer": portal.url})
        yield browser


def card_of(browser: httpx.Client, name: str) -> str:
    """The card of the server on the fleet page, "" while there is none with a CPU value."""
    cards = re.findall(r"<article.*?</article>", browser.get("/").text, re.S)
    return next((card for card in cards if f">{name}<" in card and "<dt>CPU</dt><dd>" in card), "")


@contextlib.contextmanager
def away(portal: RunningPortal) -> Iterator[None]:
    """Without its web process, which is killed, and not started again before the end."""
    with control(socket_folder(portal.data / "run")) as remote:
        portal.kill("web")
        with contextlib.suppress(Fault):  # it had not been started again yet
            remote.supervisor.stopProcess(f"{PORTAL}:web")
        try:
            yield
        finally:
            remote.supervisor.startProcess(f"{PORTAL}:web")


def kept_lines(portal: RunningPortal, host: str) -> list[str]:
    """The texts of the lines that the portal has of the host, sorted."""
    server = f"frozenset({{Server.objects.get(name={host!r}).pk}})"
    found: list[str] = inside(
        portal, f"sorted(line.text for line in search(Ask(), servers={server}, limit=1000).lines)"
    )
    return found


def kept_instants(portal: RunningPortal, host: str) -> list[float]:
    """When the portal has a CPU value of the host."""
    track = f"read(Server.objects.get(name={host!r}).pk, [SeriesName('cpu')], 0, 2**42)"
    code = f"(lambda t: [int(at) for at, value in zip(t.at_ms, t.values[0]) if value == value])({track})"
    return [at / 1000 for at in inside(portal, code)]
