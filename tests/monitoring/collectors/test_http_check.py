"""HTTP checks of real servers: what is good, what is not and why, and certificates of every age."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from monitoring.collectors import http
from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.certificates import CERTIFICATE
from monitoring.collectors.http import STATUS, TIME, UP
from monitoring.models import Source
from portal.toolkit import wire
from portal.toolkit.secrets import seal
from portal.toolkit.sentence import say
from tests.certificates import make_certificate, server_tls
from tests.toolkit.server import Answer, page, raw, serving

pytestmark = pytest.mark.usefixtures("loopback_is_allowed")


def check(url: str, secret: str = "", timeout_s: int = 5, **options: Any) -> Collected:
    source = Source(pk=1, url=url, timeout_s=timeout_s, sealed_secret=seal(secret), options=options)
    return http.collect(source, time.time_ns() // 1_000_000)


def check_of(answer: Answer, **options: Any) -> Collected:
    with serving(answer) as server:
        return check(server.url, **options)


def status(line: str, body: bytes = b"", *headers: str) -> Answer:
    head = [f"HTTP/1.1 {line}", f"Content-Length: {len(body)}", *headers]
    return raw("\r\n".join([*head, "", ""]).encode() + body)


def test_a_page_that_answers_is_up_with_its_time_and_status() -> None:
    collected = check_of(page("hello"))
    assert (collected.values[UP], collected.values[STATUS], collected.complaint) == (1, 200, "")
    assert 0 < collected.values[TIME] < 5000


@pytest.mark.parametrize(
    ("line", "options", "up"),
    [
        ("302 Found", {}, 1),  # where it leads to is not followed: this address answered
        ("302 Found", {"statuses": "200-299"}, 0),
        ("404 Not Found", {}, 0),
        ("503 Busy", {}, 0),
        ("401 Who", {"statuses": "200-299, 401"}, 1),
    ],
)
def test_the_status_decides(line: str, options: dict[str, str], up: int) -> None:
    collected = check_of(status(line, b"", "Location: /elsewhere"), **options)
    assert collected.values[UP] == up
    assert collected.values[STATUS] == int(line[:3])
    assert say(collected.complaint) == ("" if up else f"The status is {line[:3]}.")


def test_a_check_with_a_name_has_series_of_its_own() -> None:
    names = {(name.metric, name.labels) for name in check_of(page("hello"), name="shop").values}
    assert names == {(metric, '{"check":"shop"}') for metric in ("check_up", "check_time", "check_status")}


def test_the_page_must_contain_what_it_should_and_nothing_else_it_should_not() -> None:
    collected = check_of(page("all is well, no maintenance"), contains="shop", lacks="maintenance")
    assert collected.values[UP] == 0
    assert say(collected.complaint) == "The page does not contain “shop”. The page contains “maintenance”."


def test_of_a_page_without_an_end_the_first_megabyte_is_looked_at() -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\nneedle" + b"x" * 3_000_000
    assert check_of(raw(endless), contains="needle").values[UP] == 1


def test_head_asks_for_no_page() -> None:
    with serving(status("200 OK")) as server:
        assert check(server.url, method="HEAD", contains="anything").values[UP] == 1
    assert server.requests[0].startswith("HEAD /metrics HTTP/1.1")


def test_the_password_goes_with_the_user_a_token_alone_and_into_a_header_where_it_stands() -> None:
    with serving(page("")) as server:
        check(server.url.replace("//", "//ann@"), "pass word")
        check(server.url, "t0ken ")
        check(server.url, "t0ken", headers="X-Api-Key: {secret}\nAccept: text/html")
    first, second, third = server.requests
    assert "Authorization: Basic YW5uOnBhc3Mgd29yZA==" in first
    assert "Authorization: Bearer t0ken" in second
    assert "X-Api-Key: t0ken" in third
    assert "Authorization" not in third


def test_a_password_that_no_header_can_carry_is_not_told() -> None:
    with serving(page("")) as server, pytest.raises(CollectError) as caught:
        check(server.url.replace("//", "//ann@"), "s3cret ", headers="X-Api-Key: {secret}")
    assert "s3cret" not in str(caught.value)


# --- What fails -------------------------------------------------------------------------------------------------------
def hang(connection: Any) -> None:
    time.sleep(3)


def drip(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(60):
        connection.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (hang, "no complete answer within 1 s."),
        (drip, "no complete answer within 1 s."),
        (raw(b""), "does not speak HTTP as it should"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not speak HTTP as it should"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nhalf"), "The answer was cut off."),
    ],
)
def test_an_answer_that_does_not_come_is_a_failed_check_that_says_why(answer: Answer, words: str) -> None:
    collected = check_of(answer, timeout_s=1)
    assert collected.values[UP] == 0
    assert words in say(collected.complaint)


def test_a_port_that_nobody_listens_at_and_a_name_that_nobody_knows_are_failed_checks() -> None:
    with serving(page("")) as server:
        port = server.port
    refused, unknown = check(f"http://127.0.0.1:{port}/"), check("http://no-such-host.invalid/")
    assert "Connection refused" in say(refused.complaint)
    assert "is not known (DNS)" in say(unknown.complaint)
    assert refused.values[UP] == unknown.values[UP] == 0
    assert math.isnan(refused.values[TIME])


def test_what_is_wrong_with_the_source_itself_is_no_check_at_all(settings: Any) -> None:
    settings.SCRAPE_ALLOW = []
    for url, words in (
        ("http://127.0.0.1/", "only the setting PORTAL_SCRAPE_ALLOW"),
        ("http://169.254.169.254/latest/", "link-local"),
        ("gopher://192.0.2.1/", "must start with http:// or https://"),
    ):
        with pytest.raises(CollectError, match=words):
            check(url)
    with pytest.raises(CollectError, match="its option “Good statuses”"):
        check("http://192.0.2.1/", statuses="many")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Authorization: Bearer abc", "write {secret} where it belongs"),
        ("X-Api-Key: abc", "write {secret} where it belongs"),
        ("Host: other", "is set by the check itself"),
        ("no header", "each header on a line of its own"),
    ],
)
def test_headers_that_would_be_wrong_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        http.header_lines(text)


# --- Certificates -----------------------------------------------------------------------------------------------------
Make = Callable[..., Path]


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a certificate of 127.0.0.1 that ends in so many days, and that the system trusts."""

    def make(days: float) -> Path:
        path = make_certificate(tmp_path, days=days)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        wire.usual_tls.cache_clear()
        return path

    return make


@pytest.fixture(autouse=True)
def _trust_is_forgotten() -> Any:
    yield
    wire.usual_tls.cache_clear()


def https(path: Path, **options: Any) -> Collected:
    with serving(page("hello"), server_tls(path)) as server:
        return check(f"https://127.0.0.1:{server.port}/", **options)


def test_a_good_certificate_tells_its_days(trusted: Make) -> None:
    collected = https(trusted(days=20))
    assert collected.values[UP] == 1
    assert collected.values[CERTIFICATE] == pytest.approx(20, abs=0.2)


def test_an_expired_certificate_fails_the_check_and_says_since_when(trusted: Make) -> None:
    collected = https(trusted(days=-3))
    assert collected.values[UP] == 0
    assert "certificate has expired" in say(collected.complaint)
    assert collected.values[CERTIFICATE] == pytest.approx(-3, abs=0.2)


def test_a_certificate_of_a_stranger_fails_the_check_unless_it_need_not_be_valid(tmp_path: Path) -> None:
    path = make_certificate(tmp_path, days=20)
    assert "self-signed certificate" in say(https(path).complaint)
    lax = https(path, verify=False)
    assert (lax.values[UP], lax.complaint) == (1, "")
    assert lax.values[CERTIFICATE] == pytest.approx(20, abs=0.2)


def test_without_tls_there_are_no_certificate_days() -> None:
    assert CERTIFICATE not in check_of(page("")).values


def test_plain_http_at_a_tls_port_is_a_failed_check() -> None:
    with serving(raw(b"HTTP/1.1 400 Bad\r\n\r\n")) as server:
        collected = check(f"https://127.0.0.1:{server.port}/")
    assert collected.values[UP] == 0
    assert "TLS with" in say(collected.complaint)
