"""The ASGI guard before Django: what is asked in which order, and that nothing a sender does costs memory or a 500."""

from __future__ import annotations

import asyncio
import gzip
import re
import resource
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from django.db import OperationalError

from portal.toolkit.bodies import BodyError, Patience, unpack
from portal.toolkit.intake import GRANT_FOR_S, Answer, Door, ForbiddenError, Intake, Push, token_of
from tests.asgi import ask

MOST = 100_000
BEARER = {"Authorization": "Bearer right"}


def echo(push: Push, grant: Any) -> Answer:
    return Answer(200, {"size": len(push.body), "grant": grant, "client": push.client, "parts": dict(push.parts)})


def fall(push: Push, grant: Any) -> Answer:
    raise {"away": OperationalError, "broken": RuntimeError}[push.parts["how"]]("secret words")


def grant_of(text: str) -> object | None:
    if text == "away":
        raise OperationalError
    if text == "forbidden":
        raise ForbiddenError("not today")
    return "granted" if text == "right" else None


DOORS = [
    Door("/in", ("POST",), echo, MOST, MOST),
    Door(re.compile(r"/open/(?P<what>\w+)"), ("GET", "HEAD"), echo, 10, 10, needs_token=False),
    Door(re.compile(r"/fall/(?P<how>\w+)"), ("POST",), fall, MOST, MOST, needs_token=False),
]


def intake(**options: Any) -> Intake:
    return Intake(DOORS, grant_of, **options)


def test_a_good_request_reaches_its_door() -> None:
    answer = ask(intake(), "POST", "/in/", [b"ab", b"c"], BEARER)
    assert (answer.status, answer.json()) == (200, {"size": 3, "grant": "granted", "client": "10.0.0.7", "parts": {}})
    assert answer.headers["content-length"] == str(len(answer.body))
    assert ask(intake(), "GET", "/open/ping").json()["parts"] == {"what": "ping"}


def test_a_head_gets_no_body() -> None:
    answer = ask(intake(), "HEAD", "/open/ping")
    assert (answer.status, answer.body) == (200, b"")


def test_other_paths_go_on_untouched() -> None:
    async def otherwise(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert ask(intake(otherwise=otherwise), "POST", "/inside").status == 204
    assert ask(intake(), "POST", "/inside").status == 404


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_a_wrong_method_is_405_with_allow(method: str) -> None:
    answer = ask(intake(), method, "/in", b"x", BEARER)
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer"}, 401),
        ({"Authorization": "Basic !!!"}, 401),
        ({"Authorization": "Bearer forbidden"}, 403),
        ({"Authorization": "Bearer away"}, 503),
        ({"Authorization": "bearer  right "}, 200),
        ({"Authorization": "Basic eDpyaWdodA=="}, 200),  # x:right
        ({"X-OpenManager-Token": "right"}, 200),
    ],
)
def test_the_token_is_asked_for_before_the_body_is_read(headers: dict[str, str], status: int) -> None:
    answer = ask(intake(), "POST", "/in", b"x" * 10, headers)
    assert answer.status == status
    if status != 200:
        assert (answer.read, answer.headers["connection"]) == (0, "close")
        assert answer.json()["error"]
        assert answer.json()["message"]
        assert answer.json()["timestamp"]


def test_a_token_is_looked_up_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def look_up(text: str) -> object:
        asked.append(text)
        return "granted"

    application = Intake(DOORS, look_up)
    for _ in range(3):
        ask(application, "POST", "/in", b"", BEARER)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + GRANT_FOR_S + 1)
    ask(application, "POST", "/in", b"", BEARER)
    assert len(asked) == 2


@pytest.mark.parametrize(
    "scheme", ["", "Bearer ", "Digest x", "Basic ", "Basic \udcff".encode("utf-8", "ignore").decode()]
)
def test_headers_without_a_token(scheme: str) -> None:
    assert token_of({"authorization": scheme}) == ""


@pytest.mark.parametrize(
    ("length", "status"), [(str(MOST + 1), 413), ("9" * 5000, 413), ("-1", 400), ("1e3", 400), ("٣", 400), ("3", 200)]
)
def test_the_length_is_judged_before_the_body_is_read(length: str, status: int) -> None:
    headers = {**BEARER, "Content-Length": length.encode("utf-8").decode("latin-1")}
    answer = ask(intake(), "POST", "/in", b"abc", headers)
    assert (answer.status, answer.read) == (status, 3 if status == 200 else 0)


def test_a_body_without_a_length_is_cut_off_where_it_is_too_large() -> None:
    answer = ask(intake(), "POST", "/in", [b"x" * 1000] * 1000, BEARER)
    assert (answer.status, answer.read) == (413, MOST + 1000)


def test_a_body_that_never_ends_is_given_up() -> None:
    application = intake(patience=Patience(whole_s=0.2, piece_s=0.1, linger_s=0.1))
    assert ask(application, "POST", "/in", b"x", BEARER, hangs=True).status == 408
    dripping = ask(application, "POST", "/in", [b"x"] * 100, BEARER, pause_s=0.02)
    assert (dripping.status, dripping.read < 30) == (408, True)


def test_a_sender_that_leaves_is_not_answered() -> None:
    sent = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"authorization", b"Bearer right")]
    scope = {"type": "http", "method": "POST", "path": "/in", "headers": headers, "query_string": b"", "client": None}
    asyncio.run(intake()(scope, receive, send))
    assert sent == []


def test_bodies_share_one_room() -> None:
    application = intake(bytes_waiting=1500)
    answer = ask(application, "POST", "/in", [b"x" * 1000] * 2, BEARER)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert ask(application, "POST", "/in", b"x" * 1000, BEARER).status == 200  # what was held is given back


def test_who_comes_when_all_wait_is_told_to_come_again() -> None:
    release = threading.Event()

    def wait(push: Push, grant: Any) -> Answer:
        release.wait(20)
        return Answer(200)

    application = Intake([Door("/in", ("POST",), wait, 10, 10)], grant_of, queued=1)
    statuses: list[int] = []

    def send() -> None:
        statuses.append(ask(application, "POST", "/in", b"", BEARER).status)

    senders = [threading.Thread(target=send) for _ in range(9)]
    for sender in senders:
        sender.start()
    deadline = time.monotonic() + 10
    while len(statuses) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    release.set()
    for sender in senders:
        sender.join()
    assert sorted(statuses) == [200] * 5 + [503] * 4  # four at work, one in the queue


def test_strangers_keep_no_sender_out() -> None:
    """Neither with bodies that they hold back nor with work."""
    release, begun = threading.Event(), threading.Event()

    def wait(push: Push, grant: Any) -> Answer:
        begun.set()
        release.wait(20)
        return Answer(200)

    doors = [Door("/in", ("POST",), echo, MOST, MOST), Door("/open", ("POST",), wait, MOST, MOST, needs_token=False)]
    application = Intake(doors, grant_of, queued=0, bytes_waiting=8_000)
    strangers = [
        threading.Thread(target=ask, args=(application, "POST", "/open", b"x" * 900), daemon=True) for _ in range(9)
    ]
    for stranger in strangers:
        stranger.start()
    assert begun.wait(10)
    assert ask(application, "POST", "/open", [b"x" * 900]).status == 503
    assert ask(application, "POST", "/in", b"x" * 8_000, BEARER).status == 200
    release.set()
    for stranger in strangers:
        stranger.join()


@pytest.mark.parametrize("how", ["away", "broken"])
def test_what_goes_wrong_with_us_is_503_and_says_nothing_of_it(how: str) -> None:
    answer = ask(intake(), "POST", f"/fall/{how}")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert b"secret" not in answer.body


def test_the_token_is_in_no_log(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    ask(intake(), "POST", "/fall/broken", b"", {"Authorization": "Bearer omp_very-secret"})
    ask(intake(), "POST", "/in", b"", {"Authorization": "Bearer omp_very-secret"})
    said = caplog.text + "".join(capsys.readouterr())
    assert "very-secret" not in said


# --- Packed bodies ----------------------------------------------------------------------------------------------------


def packed(body: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.compress(body)
    whole = zlib.compress(body)
    return whole[2:-4] if coding == "raw deflate" else whole


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_packed_bodies_are_unpacked(coding: str) -> None:
    body = bytes(range(256)) * 300
    headers = {**BEARER, "Content-Encoding": coding.split()[-1]}
    assert ask(intake(), "POST", "/in", packed(body, coding), headers).json()["size"] == len(body)


def test_members_of_gzip_follow_each_other() -> None:
    assert unpack(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", 10) == b"ab"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_every_truncation_of_a_packed_body_is_400(coding: str) -> None:
    whole = packed(b"some body or other", coding)
    for length in range(len(whole)):
        with pytest.raises(BodyError) as caught:
            unpack(whole[:length], coding, 1000)
        assert caught.value.status == 400, length


@pytest.mark.parametrize(
    "body", [b"plain", gzip.compress(b"x", mtime=0)[:-1] + b"\1", gzip.compress(b"x", mtime=0) + b"rest"]
)
def test_what_is_no_gzip_is_400(body: bytes) -> None:
    with pytest.raises(BodyError, match="gzip") as caught:
        unpack(body, "gzip", 1000)
    assert caught.value.status == 400


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip;q=1"])
def test_another_coding_is_415(coding: str) -> None:
    answer = ask(intake(), "POST", "/in", b"x", {**BEARER, "Content-Encoding": coding})
    assert (answer.status, answer.read) == (415, 0)


def test_snappy_is_left_to_the_door() -> None:
    assert ask(intake(), "POST", "/in", b"raw", {**BEARER, "Content-Encoding": "snappy"}).json()["size"] == 3


def test_a_bomb_is_413_and_memory_stays_flat() -> None:
    bomb = gzip.compress(bytes(500_000_000), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BodyError) as caught:
        unpack(bomb, "gzip", 10_000_000)
    assert caught.value.status == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KiB


def test_a_body_of_a_million_empty_members_is_refused_soon() -> None:
    with pytest.raises(BodyError, match="members"):
        unpack(gzip.compress(b"") * 200_000, "gzip", 1000)


# --- Behind a real server ---------------------------------------------------------------------------------------------


@contextmanager
def served(application: Any) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(application, log_level="error", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: server.run([listener]))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def talk(port: int, said: bytes) -> bytes:
    """Everything that is answered until the server closes; the sender never stops early."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(said)
        heard = b""
        while piece := connection.recv(65536):
            heard += piece
        return heard


def test_real_senders_read_their_answer_before_the_connection_ends() -> None:
    head = b"POST /in HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer right\r\n"
    with served(intake(patience=Patience(whole_s=0.4, piece_s=0.4, linger_s=1.0))) as port:
        large = talk(port, head + b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
        nobody = talk(port, b"POST /in HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
        chunks = b"".join(b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(40))
        chunked = talk(port, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        promised = talk(port, head + b"Content-Length: 50\r\n\r\nshort")
        more = talk(port, head + b"Connection: close\r\nContent-Length: 2\r\n\r\nab and more than that")
    assert [answer.split(b" ")[1] for answer in (large, nobody, chunked, promised, more)] == [
        b"413",
        b"401",
        b"413",
        b"408",
        b"200",
    ]
    assert b'"size":2' in more
