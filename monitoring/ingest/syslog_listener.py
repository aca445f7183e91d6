"""Syslog as it comes, over TCP and UDP, kept in small batches.

Nobody is answered in syslog, so what was read should be kept: while PostgreSQL does not take it, TCP is read no further
(its senders wait and keep theirs), and datagrams beyond what may wait are dropped and counted.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError

from monitoring.ingest.syslog_batch import Batch, Keeper, Message
from monitoring.ingest.syslog_frames import Frames
from monitoring.ingest.syslog_senders import Senders
from portal.toolkit.pool import Pool

log = structlog.get_logger(__name__)

EVERY_S = 0.2
ENOUGH = 1_000
MOST_AT_ONCE = 5_000
"""Messages of a batch: it is kept each EVERY_S, sooner when there are ENOUGH, and then all that wait up to this."""
AGAIN_S = 1.0
MOST_CONNECTIONS = 1_000
TOLD_EVERY_S = 60.0
TOLD_KEPT = 1_000
OVERHEAD = 300
"""Bytes of memory that a waiting message takes beside its own."""


@dataclass(slots=True)
class Limits:
    """Bytes that may wait: TCP is not read beyond the first, datagrams are dropped beyond the second."""

    pause: int = 16 << 20
    drop: int = 32 << 20


@dataclass(slots=True)
class Counts:
    """Since the start, for the log and for tests."""

    kept: int = 0
    refused: int = 0
    dropped: int = 0
    turned_away: int = 0


class Listener:
    """Takes messages from its sockets until `stop`."""

    def __init__(self, senders: Senders, zone: tzinfo, limits: Limits | None = None) -> None:
        self._senders = senders
        self._keeper = Keeper(senders, zone)
        self._limits = limits or Limits()
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        self._stopping = asyncio.Event()
        self._connections: set[Connection] = set()
        self._pool = Pool(1, 1, "syslog")
        self._told: dict[str, float] = {}
        self._dropped: Counter[str] = Counter()
        self.counts = Counts()

    async def run(self, tcp: socket.socket, udp: socket.socket | None = None) -> None:
        """Until `stop`; then what waits is kept, if PostgreSQL takes it."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), sock=tcp)
        datagrams = None
        if udp is not None:
            udp.setblocking(False)
            datagrams, _protocol = await loop.create_datagram_endpoint(lambda: Datagrams(self), sock=udp)
        telling = asyncio.create_task(self._tell_of_drops(udp))
        keeping = asyncio.create_task(self._keep_what_comes())
        await self._stopping.wait()
        server.close()
        if datagrams is not None:
            datagrams.close()
        for connection in list(self._connections):
            connection.close()
        telling.cancel()
        await keeping

    def stop(self) -> None:
        self._stopping.set()
        self._arrived.set()
        self._enough.set()

    # --- What the sockets bring -------------------------------------------------------------------------------------
    def admit(self, peer: str) -> str | None:
        """The name of the token that the peer sends as; None when it may not, which is told once a minute."""
        name = self._senders.token_name(peer)
        if name is None:
            self.counts.turned_away += 1
            self._say(f"peer {peer}", "syslog_turned_away", peer=peer, why="not in PORTAL_SYSLOG_ALLOW")
        return name

    def opened(self, connection: Connection) -> bool:
        """False when there are too many."""
        if len(self._connections) >= MOST_CONNECTIONS:
            self._say("connections", "syslog_too_many_connections", most=MOST_CONNECTIONS)
            return False
        self._connections.add(connection)
        return True

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)

    def add(self, token: str, peer: str, raws: Sequence[bytes]) -> None:
        now = datetime.now(UTC)
        for raw in raws:
            self._waiting.append(Message(token, peer, raw, now))
            self._bytes += len(raw) + OVERHEAD
        if raws:
            self._arrived.set()
        if len(self._waiting) >= ENOUGH:
            self._enough.set()
        if self.is_full():
            for connection in self._connections:
                connection.pause()

    def add_datagram(self, peer: str, raw: bytes) -> None:
        name = self.admit(peer)
        if name is None:
            return
        if self._bytes > self._limits.drop:
            self.counts.dropped += 1
            self._dropped[name] += 1
        else:
            self.add(name, peer, [raw])

    def is_full(self) -> bool:
        return self._bytes > self._limits.pause

    # --- Keeping ----------------------------------------------------------------------------------------------------
    async def _keep_what_comes(self) -> None:
        while self._waiting or not self._stopping.is_set():
            await self._arrived.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._enough.wait(), EVERY_S)
            messages = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            if not self._stopping.is_set():
                if not self._waiting:
                    self._arrived.clear()
                if len(self._waiting) < ENOUGH:
                    self._enough.clear()
            try:
                batch = await self._pool.run(lambda messages=messages: self._keeper.read(messages))  # type: ignore[misc]
                await self._keep(batch)
            except _LostError as error:
                log.error("syslog_lost", messages=len(messages) + len(self._waiting), error=str(error))
                return
            except Exception:
                log.exception("syslog_broken", messages=len(messages))
            self._give_room(messages)

    async def _keep(self, batch: Batch) -> None:
        """Again and again while PostgreSQL is away. Raises _LostError when the listener is to stop meanwhile."""
        while True:
            try:
                outcomes = await self._pool.run(lambda: self._keeper.keep(batch))
                break
            except (OperationalError, InterfaceError) as error:
                if self._stopping.is_set():
                    raise _LostError(str(error)) from error
                self._say("database", "syslog_waits_for_postgresql", error=str(error), waiting=len(self._waiting))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), AGAIN_S)
        for outcome in outcomes:
            self.counts.kept += outcome.kept
            self.counts.refused += outcome.refused
            if outcome.refused:
                self._say(outcome.why, "syslog_refused", lines=outcome.refused, why=outcome.why)

    def _give_room(self, messages: Sequence[Message]) -> None:
        self._bytes -= sum(len(message.raw) + OVERHEAD for message in messages)
        if not self.is_full():
            for connection in self._connections:
                connection.resume()

    # --- Telling ----------------------------------------------------------------------------------------------------
    def _say(self, key: str, event: str, **facts: Any) -> None:
        """In the log, once in TOLD_EVERY_S for each key."""
        now = time.monotonic()
        if self._told.get(key, 0.0) > now:
            return
        if len(self._told) >= TOLD_KEPT:
            self._told.clear()
        self._told[key] = now + TOLD_EVERY_S
        log.warning(event, **facts)

    async def _tell_of_drops(self, udp: socket.socket | None) -> None:
        """Datagrams that were dropped, here or by the kernel before they came here."""
        before = 0
        while True:
            await asyncio.sleep(TOLD_EVERY_S / 6)
            by_kernel = kernel_drops(udp) if udp is not None else 0
            if self._dropped or by_kernel != before:
                log.warning("syslog_dropped", here=self._dropped.total(), by_the_kernel=by_kernel - before)
            before = by_kernel
            await self._count_dropped()

    async def _count_dropped(self) -> None:
        for name, dropped in list(self._dropped.items()):
            with suppress(OperationalError, InterfaceError):
                await self._pool.run(lambda name=name, dropped=dropped: self._keeper.count_dropped(name, dropped))  # type: ignore[misc]
                self._dropped[name] -= dropped
        self._dropped = +self._dropped


class _LostError(Exception):
    """What waits cannot be kept any more."""


class Connection(asyncio.Protocol):
    """One sender over TCP."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._token: str | None = None
        self._peer = ""
        self._is_paused = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._peer = str((transport.get_extra_info("peername") or ("",))[0])
        self._token = self._listener.admit(self._peer)
        if self._token is None or not self._listener.opened(self):
            self._token = None
            transport.abort()
        elif self._listener.is_full():
            self.pause()

    def data_received(self, data: bytes) -> None:
        if self._token is not None:
            self._listener.add(self._token, self._peer, self._frames.feed(data))

    def connection_lost(self, _error: Exception | None) -> None:
        self._listener.closed(self)
        if self._token is not None:
            self._listener.add(self._token, self._peer, self._frames.end())

    def pause(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Datagrams(asyncio.DatagramProtocol):
    """All senders over UDP."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._listener.add_datagram(str(address[0]), data)


def kernel_drops(udp: socket.socket) -> int:
    """Datagrams for which the socket's buffer had no room, since it was opened; 0 where the kernel does not tell."""
    inode = str(os.fstat(udp.fileno()).st_ino)
    table = Path("/proc/net/udp6" if udp.family == socket.AF_INET6 else "/proc/net/udp")
    with suppress(OSError):
        for line in table.read_text().splitlines()[1:]:
            columns = line.split()
            if columns[9] == inode:
                return int(columns[12])
    return 0
