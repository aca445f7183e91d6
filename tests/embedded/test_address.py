from __future__ import annotations

import os
import socket

import pytest

from portal.embedded.address import DEAF_MS, host_names, listen, public_url
from portal.embedded.errors import StartError

EVERYWHERE = "0.0.0.0"  # noqa: S104 (what a person may type)


def test_a_taken_port_says_by_whom_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"Port {port} is taken by .+ \(process {os.getpid()}\): choose another"):
            listen("127.0.0.1", port)


def test_port_0_becomes_a_free_one() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        assert listener.getsockname()[1] > 0


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartError, match=r"--host 192\.0\.2\.1: this machine cannot listen there"):
        listen("192.0.2.1", 0)


def test_a_number_that_is_no_port_is_refused() -> None:
    with pytest.raises(StartError, match="--port 70000: use a number from 1 to 65535"):
        listen("127.0.0.1", 70000)


def test_only_loopback_names_are_accepted_until_it_is_opened() -> None:
    assert host_names("127.0.0.1") == ["127.0.0.1", "localhost", "[::1]"]
    assert socket.gethostname() in host_names(EVERYWHERE)
    assert "*" not in host_names(EVERYWHERE)


def test_the_url_is_one_that_a_browser_can_open() -> None:
    assert public_url("127.0.0.1", 8000) == "http://127.0.0.1:8000"
    assert public_url("::1", 8000) == "http://[::1]:8000"
    assert EVERYWHERE not in public_url(EVERYWHERE, 8000)


def test_a_peer_that_takes_nothing_is_let_go() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == DEAF_MS
