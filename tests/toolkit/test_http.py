"""The guarded client against real servers that misbehave, and against every spelling of a forbidden place."""

from __future__ import annotations

import gzip
import ipaddress
import itertools
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from portal.toolkit import http, targets, wire
from portal.toolkit.addresses import parse_allowance
from portal.toolkit.http import Fetched, FetchError, fetch
from tests.certificates import make_certificate, server_tls
from tests.toolkit.server import page, raw, serving


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any) -> None:
    settings.SCRAPE_ALLOW = ["127.0.0.0/8"]


def get(url: str, *, timeout_s: float = 5.0, max_bytes: int = 1_000_000, **more: Any) -> Fetched:
    return fetch(url, timeout_s=timeout_s, max_bytes=max_bytes, **more)


def refusal(url: str, **more: Any) -> str:
    with pytest.raises(FetchError) as caught:
        get(url, **more)
    return str(caught.value)


def resolves_to(*texts: str) -> Callable[[str, float], list[Any]]:
    return lambda name, timeout_s: [ipaddress.ip_address(text) for text in texts]


# --- What comes back --------------------------------------------------------------------------------------------------
def test_it_returns_status_type_and_body() -> None:
    with serving(page("up 1\n")) as server:
        assert get(server.url) == Fetched(200, "text/plain; version=0.0.4", b"up 1\n", "complete")


def test_it_asks_for_gzip_and_unpacks_it() -> None:
    with serving(page(gzip.compress(b"up 1\n") + gzip.compress(b"down 0\n"), "x", "Content-Encoding: gzip")) as server:
        assert get(server.url).body == b"up 1\ndown 0\n"
    assert "Accept-Encoding: gzip" in server.requests[0]


def test_an_error_status_is_an_answer() -> None:
    with serving(raw(b"HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\nno")) as server:
        assert get(server.url).status == 503


def test_the_path_and_query_arrive_as_typed() -> None:
    with serving(page("")) as server:
        get(f"http://127.0.0.1:{server.port}/지표?module=a b&x=%20".replace(" b", "+b"))
    assert server.requests[0].startswith("GET /%EC%A7%80%ED%91%9C?module=a+b&x=%20 HTTP/1.1\r\n")


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(page("up 1\n")) as server:
        assert get(server.url).body == b"up 1\n"


def test_a_body_that_ends_early_says_so() -> None:
    with serving(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nup 1\n")) as server:
        answer = get(server.url)
    assert (answer.body, answer.ending) == (b"up 1\n", "cut")


def test_a_packed_body_that_ends_early_says_so() -> None:
    half = gzip.compress(b"up 1\n" * 1000)[:-9]
    with serving(page(half, "text/plain", "Content-Encoding: gzip")) as server:
        assert get(server.url).ending == "cut"


def test_a_body_without_a_length_may_or_may_not_be_whole() -> None:
    with serving(raw(b"HTTP/1.1 200 OK\r\n\r\nup 1\n")) as server:
        assert get(server.url).ending == "unknown"


# --- Servers that misbehave -------------------------------------------------------------------------------------------
def drip(start: bytes, every_s: float) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(start)
        end = time.monotonic() + 5
        while time.monotonic() < end:
            connection.sendall(b"x")
            time.sleep(every_s)

    return answer


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", id="in the body"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Long: ", id="in a header"),
        pytest.param(b"", id="from the first byte on"),
    ],
)
def test_a_drip_of_bytes_does_not_move_the_deadline(start: bytes) -> None:
    with serving(drip(start, 0.1)) as server:
        began = time.monotonic()
        assert refusal(server.url, timeout_s=1.0) == "no complete answer within 1 s"
    assert 0.9 <= time.monotonic() - began <= 2.0


def test_a_silent_server_is_left_at_the_deadline() -> None:
    with serving(lambda connection: time.sleep(5)) as server:
        began = time.monotonic()
        assert refusal(server.url, timeout_s=0.5) == "no complete answer within 0.50 s"
    assert time.monotonic() - began <= 1.5


def test_a_silent_name_server_is_left_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: time.sleep(3))
    began = time.monotonic()
    assert "was not found in time" in refusal("http://slow.example/", timeout_s=0.3)
    assert time.monotonic() - began <= 1.3


def test_a_body_that_never_ends_is_capped() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65536)

    with serving(answer) as server:
        assert refusal(server.url, max_bytes=300_000) == "the answer is larger than 0.30 MB"


def test_a_gzip_bomb_is_stopped_at_the_cap() -> None:
    bomb = gzip.compress(b"\0" * 200_000_000, 1)
    unpacked = http._Body("gzip", 1_000_000)
    with pytest.raises(FetchError, match=r"larger than 1 MB"):
        unpacked.add(bomb)
    assert len(unpacked.kept) == 1_000_001
    with serving(page(bomb, "text/plain", "Content-Encoding: gzip")) as server:
        assert refusal(server.url) == "the answer is larger than 1 MB"


def test_a_huge_header_is_refused() -> None:
    with serving(raw(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"x" * 200_000 + b"\r\n\r\n")) as server:
        assert "does not speak HTTP as it should" in refusal(server.url)


def test_an_encoding_that_was_not_asked_for_is_refused() -> None:
    with serving(page("x", "text/plain", "Content-Encoding: br")) as server:
        assert refusal(server.url) == "the answer is packed as “br”, which was not asked for"


@pytest.mark.parametrize("data", [b"", b"220 mail ready\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_not_http_is_said_to_be_not_http(data: bytes) -> None:
    with serving(raw(data)) as server:
        assert "does not speak HTTP as it should" in refusal(server.url)


@pytest.mark.parametrize("end", [" ", "\r\nX-More: 1"])
def test_a_header_that_cannot_be_sent_is_not_quoted(end: str) -> None:
    """What went wrong is stored, shown and logged; the header may be a password."""
    with serving(page("")) as server:
        said = refusal(server.url, headers={"Authorization": f"Bearer s3cret{end}"})
    assert "password or token" in said
    assert "s3cret" not in said
    assert not server.requests or "s3cret" not in server.requests[0]


def test_a_closed_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert refusal(f"http://127.0.0.1:{port}/") == f"no connection to 127.0.0.1:{port}: Connection refused"


def test_a_redirect_is_an_error_that_says_where_it_points() -> None:
    with serving(page("never seen")) as inner:
        to = f"Location: {inner.url}\r\nContent-Length: 0\r\n\r\n"
        with serving(raw(b"HTTP/1.1 302 Found\r\n" + to.encode())) as server:
            assert refusal(server.url) == f"it redirects to {inner.url}, which is not followed"
    assert inner.requests == []


def test_what_a_stranger_says_is_one_printable_line() -> None:
    with serving(raw(b"HTTP/1.1 302 Found\r\nLocation: /\x9b31m\r\nContent-Length: 0\r\n\r\n")) as server:
        assert refusal(server.url) == "it redirects to /\ufffd31m, which is not followed"


# --- Places that are not connected to ---------------------------------------------------------------------------------
FORBIDDEN = [
    "0.0.0.0",  # noqa: S104
    "127.0.0.1", "127.8.8.8", "[::1]", "0.1.2.3", "[::]", "169.254.169.254", "169.254.0.1", "[fe80::1]",
    "[fd00:ec2::254]", "100.100.100.200", "192.0.0.192", "168.63.129.16", "224.0.0.1", "[ff02::1]", "255.255.255.255",
    "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.1.",
]  # fmt: skip


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_forbidden_address_is_refused_and_the_setting_named(host: str, settings: Any) -> None:
    settings.SCRAPE_ALLOW = []
    assert "only the setting PORTAL_SCRAPE_ALLOW can permit it" in refusal(f"http://{host}/latest/meta-data/")


@pytest.mark.parametrize("host", FORBIDDEN)
def test_a_name_does_not_lead_to_a_forbidden_address(host: str, settings: Any) -> None:
    settings.SCRAPE_ALLOW = []
    plain = host.strip("[].")
    assert "only the setting PORTAL_SCRAPE_ALLOW" in refusal("http://innocent.example/", resolve=resolves_to(plain))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "127.0.1", "017700000001", "1.2.3.4.5",
        "１２７.0.0.1", "①②⑦.0.0.1", "ⓛocalhost", "%6cocalhost", "[fe80::1%25eth0]", "[::1%25lo]", "", ".", "a..b",
        "127.0.0.1%00.example", "exa mple", "-a.example", "a" * 64 + ".example", "127。0。0。1.。",
    ],
)  # fmt: skip
def test_an_odd_spelling_is_refused_even_where_loopback_is_allowed(host: str) -> None:
    words = refusal(f"http://{host}/", resolve=resolves_to("10.0.0.1"))
    assert "PORTAL_SCRAPE_ALLOW" not in words
    assert "no connection" not in words


def test_localhost_is_refused_however_it_is_written(settings: Any) -> None:
    settings.SCRAPE_ALLOW = []
    for host in ("localhost", "LOCALHOST", "localhost.", "LocalHost。"):
        assert "loopback" in refusal(f"http://{host}:9100/metrics")


@pytest.mark.parametrize("host", ["metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data"])
def test_names_of_metadata_services_are_not_even_looked_up(host: str) -> None:
    def never(name: str, timeout_s: float) -> list[Any]:
        raise AssertionError(f"looked up {name}")

    assert "metadata service" in refusal(f"http://{host}/", resolve=never)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("file:///etc/passwd", "must start with http:// or https://"),
        ("gopher://10.0.0.1/", "must start with http:// or https://"),
        ("10.0.0.1:9100/metrics", "must start with http:// or https://"),
        ("http://user:secret@10.0.0.1/", "must not hold a user name or password"),
        ("http://127.0.0.1@10.0.0.1/", "must not hold a user name or password"),
        ("http://10.0.0.1\\@127.0.0.1/", "backslashes"),
        ("http://10.0.0.1/\r\nHost: x", "control characters"),
        ("http://10.0.0.1/a b", "spaces"),
        ("http://10.0.0.1:0/", "port 0 does not exist"),
        ("http://10.0.0.1:65536/", "port 65536 does not exist"),
    ],
)
def test_a_bad_url_is_refused_in_words(url: str, words: str) -> None:
    assert words in refusal(url)


@pytest.mark.parametrize("host", ["10.0.0.5", "192.168.1.7", "172.16.3.4", "[fd12::7]", "100.64.0.9", "8.8.8.8"])
def test_private_and_public_networks_are_fine(host: str, settings: Any) -> None:
    settings.SCRAPE_ALLOW = []
    targets.check_place(f"http://{host}:9100/metrics")


def test_the_portals_own_services_are_refused_at_this_machines_other_addresses(settings: Any) -> None:
    settings.SCRAPE_ALLOW = []
    settings.REDIS_URL = "redis://127.0.0.1:6390/0"
    settings.PORTAL_URL = "http://127.0.0.1:8123"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        own = probe.getsockname()[0]
    for port in (6390, 8123):
        assert "one of the portal's own services" in refusal(f"http://{own}:{port}/")
        targets.check_place(f"http://192.0.2.1:{port}/")
    targets.check_place(f"http://{own}:9100/")


def test_the_portals_database_on_another_machine_is_refused(settings: Any) -> None:
    settings.REDIS_URL = "redis://192.0.2.9:6390/0"
    assert "one of the portal's own services" in refusal("http://192.0.2.9:6390/")


# --- PORTAL_SCRAPE_ALLOW ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.1:{port}", "127.0.0.0/8", "::ffff:127.0.0.1/128"])
def test_loopback_is_read_where_the_setting_allows_it(entry: str, settings: Any) -> None:
    with serving(page("up 1\n")) as server:
        settings.SCRAPE_ALLOW = [entry.format(port=server.port)]
        host = "[::ffff:127.0.0.1]" if entry.startswith("::") else "127.0.0.1"
        assert get(f"http://{host}:{server.port}/").body == b"up 1\n"


def test_a_name_is_read_where_the_setting_allows_it(settings: Any) -> None:
    with serving(page("up 1\n")) as server:
        settings.SCRAPE_ALLOW = [f"localhost:{server.port}"]
        assert get(f"http://localhost:{server.port}/").body == b"up 1\n"
        assert "PORTAL_SCRAPE_ALLOW" in refusal(server.url)


def test_an_allowed_port_opens_no_other(settings: Any) -> None:
    settings.SCRAPE_ALLOW = ["127.0.0.1:9100"]
    assert "PORTAL_SCRAPE_ALLOW" in refusal("http://127.0.0.1:9101/")


def test_an_allowed_name_does_not_open_metadata_addresses(settings: Any) -> None:
    settings.SCRAPE_ALLOW = ["innocent.example"]
    words = refusal("http://innocent.example/", resolve=resolves_to("169.254.169.254"))
    assert "link-local, where metadata services are" in words


@pytest.mark.parametrize("entry", ["http://x/", "10.0.0.1/8", "127.1", "host:0", "host:99999", "a b", "[::1", "*"])
def test_a_wrong_entry_names_the_setting(entry: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="PORTAL_SCRAPE_ALLOW"):
        parse_allowance(entry)


def test_an_allowance_is_logged_once(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    with serving(page("up 1\n")) as server:
        settings.SCRAPE_ALLOW = ["127.0.0.1"]
        get(server.url)
        get(server.url)
    messages = [entry.getMessage() for entry in caplog.records if "scrape_allowed_by_setting" in entry.getMessage()]
    assert len([message for message in messages if f"127.0.0.1:{server.port}" in message]) == 1


# --- Resolved once ----------------------------------------------------------------------------------------------------
def test_a_name_is_resolved_once_and_that_address_is_connected_to(settings: Any) -> None:
    answers = itertools.chain(["127.0.0.1"], itertools.repeat("169.254.169.254"))
    asked = []

    def rebinding(name: str, timeout_s: float) -> list[Any]:
        asked.append(name)
        return [ipaddress.ip_address(next(answers))]

    with serving(page("up 1\n")) as server:
        assert get(f"http://Rebind.example:{server.port}/metrics", resolve=rebinding).body == b"up 1\n"
    assert asked == ["rebind.example"]
    assert f"Host: rebind.example:{server.port}\r\n" in server.requests[0]


def test_a_forbidden_address_among_others_is_left_out(settings: Any) -> None:
    settings.SCRAPE_ALLOW = ["127.0.0.1"]
    with serving(page("up 1\n")) as server:
        mixed = resolves_to("169.254.169.254", "::1", "127.0.0.1")
        assert get(f"http://mixed.example:{server.port}/", resolve=mixed).body == b"up 1\n"


def test_a_dead_first_address_leaves_time_for_the_second() -> None:
    with serving(page("up 1\n")) as server:
        both = resolves_to("127.0.0.2", "127.0.0.1")
        assert get(f"http://both.example:{server.port}/", resolve=both).body == b"up 1\n"


def test_an_unknown_name_is_named() -> None:
    assert refusal("http://no-such-machine.invalid/") == "the name no-such-machine.invalid is not known (DNS)"


# --- TLS --------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"), "exporter.example")


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What an operator does who runs an authority of their own."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    wire.usual_tls.cache_clear()
    yield
    wire.usual_tls.cache_clear()


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    with serving(page("up 1\n"), server_tls(certificate)) as server:
        url = f"https://exporter.example:{server.port}/"
        assert "is not valid: self-signed certificate" in refusal(url, resolve=resolves_to("127.0.0.1"))


@pytest.mark.usefixtures("trusted")
def test_the_certificate_is_checked_against_the_name_in_the_url(certificate: Path) -> None:
    with serving(page("up 1\n"), server_tls(certificate)) as server:
        right, wrong = (f"https://{name}.example:{server.port}/" for name in ("exporter", "other"))
        assert get(right, resolve=resolves_to("127.0.0.1")).body == b"up 1\n"
        assert "is not valid: Hostname mismatch" in refusal(wrong, resolve=resolves_to("127.0.0.1"))


def test_plain_http_behind_an_https_url_is_said_to_be_that() -> None:
    with serving(page("up 1\n")) as server:
        assert "TLS with 127.0.0.1" in refusal(server.url.replace("http:", "https:"))
