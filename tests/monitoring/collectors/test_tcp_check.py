"""TCP checks of real ports: open, closed, silent, with the wrong greeting, and with TLS."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from monitoring.collectors import tcp
from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.certificates import CERTIFICATE
from monitoring.collectors.http import TIME, UP
from monitoring.models import Source
from portal.toolkit.sentence import say
from tests.certificates import make_certificate, server_tls

pytestmark = pytest.mark.usefixtures("loopback_is_allowed")


@contextmanager
def greeting(greet: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port that speaks first."""

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with (
                contextlib.suppress(OSError),
                connection,
                tls.wrap_socket(connection, server_side=True) if tls else connection as spoken,
            ):
                greet(spoken)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def says(text: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text)


def waits(connection: socket.socket) -> None:
    connection.recv(1)


def resets(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def check(url: str, timeout_s: int = 5, **options: Any) -> Collected:
    return tcp.collect(Source(pk=1, url=url, timeout_s=timeout_s, options=options), time.time_ns() // 1_000_000)


def test_an_open_port_is_up_with_the_time_to_connect() -> None:
    with greeting(waits) as port:
        collected = check(f"tcp://127.0.0.1:{port}")
    assert (collected.values[UP], collected.complaint) == (1, "")
    assert 0 < collected.values[TIME] < 5000
    assert CERTIFICATE not in collected.values


def test_a_closed_port_is_a_failed_check_that_says_why() -> None:
    with greeting(waits) as port:
        pass
    collected = check(f"tcp://127.0.0.1:{port}")
    assert collected.values[UP] == 0
    assert math.isnan(collected.values[TIME])
    assert "Connection refused" in say(collected.complaint)


def test_the_greeting_may_come_in_pieces() -> None:
    def in_pieces(connection: socket.socket) -> None:
        for piece in (b"SS", b"H-2", b".0-x\r\n"):
            connection.sendall(piece)
            time.sleep(0.02)

    with greeting(in_pieces) as port:
        assert check(f"tcp://127.0.0.1:{port}", banner="SSH-2.0").values[UP] == 1


@pytest.mark.parametrize(
    ("greet", "words"),
    [
        (says(b"<html>hello</html>"), "The greeting is “<html>hello</html>” and does not contain “220”."),
        (says(b"x" * 10_000), "and does not contain “220”."),
        (says(b""), "The greeting is “” and does not contain “220”."),
        (waits, "no complete answer within 1 s."),
        (resets, "Connection reset by peer"),
    ],
)
def test_a_wrong_greeting_is_a_failed_check(greet: Callable[[socket.socket], None], words: str) -> None:
    with greeting(greet) as port:
        collected = check(f"tcp://127.0.0.1:{port}", timeout_s=1, banner="220")
    assert collected.values[UP] == 0
    assert words in say(collected.complaint)


def test_tls_is_checked_with_its_certificate(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, days=9)
    with greeting(says(b"220 mail\r\n"), server_tls(certificate)) as port:
        strict = check(f"tls://127.0.0.1:{port}", banner="220")
        lax = check(f"tls://127.0.0.1:{port}", banner="220", verify=False)
    assert (strict.values[UP], lax.values[UP]) == (0, 1)
    assert "self-signed certificate" in say(strict.complaint)
    assert strict.values[CERTIFICATE] == lax.values[CERTIFICATE] == pytest.approx(9, abs=0.2)


def test_the_portals_own_machine_is_no_target(settings: Any) -> None:
    settings.SCRAPE_ALLOW = []
    with pytest.raises(CollectError, match="only the setting PORTAL_SCRAPE_ALLOW"):
        check("tcp://127.0.0.1:22")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("tcp://192.0.2.7", "the URL needs a port"),
        ("tcp://192.0.2.7:22/path", "A port has no path"),
        ("http://192.0.2.7:22", "must start with tcp:// or tls://"),
        ("tcp://ann@192.0.2.7:22", "without a user or password"),
        ("tcp://169.254.169.254:80", "link-local"),
    ],
)
def test_a_url_that_is_no_port_is_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        tcp.check_url(url)
