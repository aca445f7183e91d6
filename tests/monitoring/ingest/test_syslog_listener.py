"""Syslog over real sockets: who may send lands, who may not is turned away, and an outage loses nothing of TCP."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC
from typing import Any

import pytest
from django.db import OperationalError

from monitoring.ingest import syslog_batch, tokens
from monitoring.ingest.syslog_listener import Limits, Listener, kernel_drops
from monitoring.ingest.syslog_senders import Senders, parse
from monitoring.logs.line import Level
from monitoring.models import PushToken, Server, ServerGroup
from portal.embedded.address import listen, listen_udp
from tests.monitoring.logs.conftest import committed_logs, kept

__all__ = ["committed_logs"]

pytestmark = pytest.mark.usefixtures("empty_redis", "committed_logs")

PATIENCE_S = 20


@pytest.fixture
def syslog_token(committed_logs: None, make_token: Callable[..., PushToken]) -> PushToken:
    return make_token(name="devices")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.ingest.syslog_listener.AGAIN_S", 0.02)


class Running:
    """A listener on free ports, and what sends to it."""

    def __init__(self, listener: Listener, tcp: socket.socket, udp: socket.socket) -> None:
        self.listener, self.udp = listener, udp
        self.address = tcp.getsockname()

    def datagram(self, *messages: bytes) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for message in messages:
                sender.sendto(message, self.address)

    async def connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(*self.address)

    async def until(self, is_so: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                await asyncio.sleep(0.01)


def run(
    act: Callable[[Running], Awaitable[None]], allow: str = "127.0.0.0/8=devices", limits: Limits | None = None
) -> Listener:
    """A listener while `act` lasts; it has stopped, and kept what it had, when this returns."""

    async def whole() -> Listener:
        tcp = listen("127.0.0.1", 0)
        udp = listen_udp("127.0.0.1", tcp.getsockname()[1])
        listener = Listener(Senders(parse([allow] if allow else [])), UTC, limits)
        running = asyncio.create_task(listener.run(tcp, udp))
        try:
            await act(Running(listener, tcp, udp))
        finally:
            listener.stop()
            await running
        return listener

    return asyncio.run(whole())


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bool]]:
    """PostgreSQL takes nothing while `away["is"]`."""
    state = {"is": True}
    take = syslog_batch.take

    def sometimes(*given: Any, **named: Any) -> Any:
        if state["is"]:
            raise OperationalError("the connection is lost")
        return take(*given, **named)

    monkeypatch.setattr(syslog_batch, "take", sometimes)
    yield state
    state["is"] = False


def stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def numbered(count: int, size: int = 20) -> list[bytes]:
    return [f"<14>1 {stamp()} h a - - - {number} ".encode().ljust(size, b"x") for number in range(count)]


def test_messages_over_tcp_and_udp_land(syslog_token: PushToken) -> None:
    async def act(portal: Running) -> None:
        _reader, writer = await portal.connection()
        message = f'<11>1 {stamp()} web-1 shop 77 - [a user="7"] counted'.encode()
        writer.write(b"%d %s" % (len(message), message))
        writer.write(f"<12>{time.strftime('%b %d %H:%M:%S', time.gmtime())} web-2 cron[5]: ended\n".encode())
        portal.datagram(b"<14>app: nobody says who")
        await portal.until(lambda: portal.listener.counts.kept == 3)
        writer.close()

    run(act)
    names = dict(Server.objects.values_list("pk", "name"))
    lines = {line.text: (names[line.server_id], line.source, line.level, dict(line.fields)) for line in kept()}
    assert lines == {
        "counted": ("web-1", "shop", Level.ERROR, {"facility": "user", "pid": "77", "user": "7"}),
        "ended": ("web-2", "cron", Level.WARNING, {"facility": "user", "pid": "5"}),
        "nobody says who": ("127.0.0.1", "app", Level.INFO, {"facility": "user"}),
    }


def test_whoever_is_in_no_allowed_network_is_turned_away(syslog_token: PushToken) -> None:
    async def act(portal: Running) -> None:
        reader, writer = await portal.connection()
        writer.write(b"<14>app: x\n")
        portal.datagram(b"<14>app: y")
        await portal.until(lambda: portal.listener.counts.turned_away == 2)
        with suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        writer.close()

    for allow in ("", "10.0.0.0/8=devices"):
        run(act, allow)
    assert kept() == []


def test_a_token_that_is_missing_or_switched_off_takes_nothing(syslog_token: PushToken) -> None:
    async def act(portal: Running) -> None:
        portal.datagram(b"<14>app: x")
        await portal.until(lambda: portal.listener.counts.refused == 1)

    run(act, "127.0.0.0/8=nobody")
    PushToken.objects.update(enabled=False)
    run(act)
    assert kept() == []


def test_a_host_of_another_group_is_refused_and_counted(
    syslog_token: PushToken, make_server: Callable[..., Server]
) -> None:
    make_server("secret", group=ServerGroup.objects.create(name="Others"))

    async def act(portal: Running) -> None:
        now = stamp()
        portal.datagram(f"<14>1 {now} secret a - - - x".encode(), f"<14>1 {now} mine a - - - y".encode())
        await portal.until(lambda: portal.listener.counts.kept and portal.listener.counts.refused)

    run(act)
    assert [line.text for line in kept()] == ["y"]
    tokens.flush()
    syslog_token.refresh_from_db()
    assert (syslog_token.lines, syslog_token.refused) == (1, 1)


def test_an_outage_holds_tcp_up_and_loses_nothing_of_it(syslog_token: PushToken, away: dict[str, bool]) -> None:
    count, size = 3_000, 2_000

    async def act(portal: Running) -> None:
        _reader, writer = await portal.connection()
        sending = asyncio.create_task(asyncio.to_thread(_send_all, portal.address, b"\n".join(numbered(count, size))))
        await portal.until(portal.listener.is_full)
        await asyncio.sleep(0.5)  # in which nothing may come
        assert portal.listener._bytes < 2_000_000  # of six million
        away["is"] = False
        await portal.until(lambda: portal.listener.counts.kept == count)
        await sending
        writer.close()

    run(act, limits=Limits(pause=500_000, drop=600_000))
    assert sorted(int(line.text.split()[0]) for line in kept()) == list(range(count))


def _send_all(address: Any, stream: bytes) -> None:
    with socket.create_connection(address) as sender:
        sender.sendall(stream + b"\n")


def test_datagrams_that_may_not_wait_are_dropped_and_counted(syslog_token: PushToken, away: dict[str, bool]) -> None:
    async def act(portal: Running) -> None:
        portal.datagram(*numbered(50, 1_000))
        await portal.until(lambda: portal.listener.counts.dropped >= 20 or kernel_drops(portal.udp))
        dropped = portal.listener.counts.dropped
        away["is"] = False
        await portal.until(lambda: portal.listener.counts.kept == 50 - dropped)

    listener = run(act, limits=Limits(pause=20_000, drop=30_000))
    assert len(kept()) == 50 - listener.counts.dropped


def test_what_came_before_the_end_is_kept(syslog_token: PushToken) -> None:
    async def act(portal: Running) -> None:
        _reader, writer = await portal.connection()
        writer.write(b"\n".join(numbered(500)) + b"\n<14>app: without an end")
        writer.close()
        await portal.until(lambda: len(portal.listener._waiting) > 500 or portal.listener.counts.kept)

    run(act)
    assert len(kept()) == 501


def test_many_messages_are_kept_in_few_commits(syslog_token: PushToken, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    take = syslog_batch.take

    def counted(streams: Any, *given: Any, **named: Any) -> Any:
        sizes.append(sum(len(stream.entries) for stream in streams))
        return take(streams, *given, **named)

    monkeypatch.setattr(syslog_batch, "take", counted)

    async def act(portal: Running) -> None:
        await asyncio.to_thread(_send_all, portal.address, b"\n".join(numbered(10_000)))
        await portal.until(lambda: portal.listener.counts.kept == 10_000)

    run(act)
    assert len(sizes) < 50


BAD = {
    "nothing": b"",
    "NUL": b"\0\0\0",
    "binary": bytes(range(256)) * 4,
    "a megabyte": b"<14>app: " + b"x" * (1 << 20) + b"\n",
    "half": b"900 <14>app: cut",
    "a huge count": b"999999999 <14>x",
    "1970": b"<14>1 1970-01-01T00:00:00Z web-1 a - - - old\n",
    "2100": b"<14>1 2100-01-01T00:00:00Z web-1 a - - - new\n",
    "ANSI, bidi and markup": "<14>app: \x1b[31m \u202e <script>\n".encode(),
    "no host": b"<14>1 - \x01\x02 a - - - x\n",
}


def test_bad_input_of_one_sender_costs_no_other_a_line(
    syslog_token: PushToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: set[str] = set()
    take = syslog_batch.take

    def noted(streams: Any, *given: Any, **named: Any) -> Any:
        taken = take(streams, *given, **named)
        texts.update(entry.text for stream in streams for entry in stream.entries)
        return taken

    monkeypatch.setattr(syslog_batch, "take", noted)

    async def act(portal: Running) -> None:
        for bad in BAD.values():
            await asyncio.to_thread(_send_all, portal.address, bad)
            portal.datagram(bad[:60_000])
        _reader, writer = await portal.connection()
        writer.write(b"<14>app: it works\n")
        await portal.until(lambda: "it works" in texts)
        writer.close()

    run(act)
    lines = {line.text: line for line in kept()}
    assert "it works" in lines
    assert lines["old"].fields["said_at"] == "1970-01-01T00:00:00+00:00"
    assert "said_at" in lines["new"].fields
    assert "\x1b[31m \u202e <script>" in lines
