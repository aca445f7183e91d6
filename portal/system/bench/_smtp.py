"""A real mail server that misbehaves on command: for the tests of delivery, and for faults under load."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, AnyStr

from aiosmtpd.smtp import SMTP, Envelope, Session

from portal.embedded.mail import HOST, free_port


@dataclass(frozen=True)
class Kept:
    """A mail that was accepted at `at`, in seconds since 1970: just before its 250 was sent."""

    at: float
    sender: str
    receiver: str
    content: bytes

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.content, policy=policy.default)

    @property
    def message_id(self) -> str:
        return str(self.message["Message-ID"])


@dataclass
class Mischief:
    """What the server does wrong; each field may change at any moment, from any thread.

    `defers`: how many mails still get 451. `answer_to_rcpt`, `answer_to_data`: instead of 250, for `victims` only when
    there are any. `delay_s`: before each answer. `drips`: a byte every `delay_s`. `closes_after_data`: the connection
    ends instead of an answer, and the mail is lost; `keeps_and_closes`: it is kept. `closes_at_quit`: no goodbye.
    `before_answer`, `after_answer`: called with a kept mail before its 250 is sent, in a thread that may take its time,
    and when it is on its way, at once, in the server's own thread.
    """

    defers: int = 0
    answer_to_mail: str = ""
    answer_to_rcpt: str = ""
    answer_to_data: str = ""
    victims: frozenset[str] = frozenset()
    delay_s: float = 0.0
    drips: bool = False
    closes_after_data: int = 0
    keeps_and_closes: int = 0
    closes_at_quit: bool = False
    before_answer: Callable[[Kept], None] | None = None
    after_answer: Callable[[Kept], None] | None = None


@dataclass
class FaultyMailServer:
    """`kept` is what it accepted, in order; `tried` counts mails that came as far as DATA, `connections` the calls."""

    port: int
    mischief: Mischief = field(default_factory=Mischief)
    kept: list[Kept] = field(default_factory=list)
    tried: int = 0
    connections: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def running(cls, port: int = 0, **options: Any) -> Iterator[FaultyMailServer]:
        """In a thread of its own, until the end of the block; `options` are those of aiosmtpd's SMTP."""
        server = cls(port or free_port(), options={"enable_SMTPUTF8": True} | options)
        server.loop = asyncio.new_event_loop()
        thread = threading.Thread(target=server.loop.run_forever, daemon=True)
        thread.start()
        server.up()
        try:
            yield server
        finally:
            server.down()
            server.loop.call_soon_threadsafe(server.loop.stop)
            thread.join()
            server.loop.close()

    def __post_init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop
        self._listening: asyncio.Server | None = None
        self._open: list[asyncio.WriteTransport] = []

    @property
    def url(self) -> str:
        return f"smtp://{HOST}:{self.port}"

    def up(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(10)

    def down(self) -> None:
        """Refuse connections, and end those that there are, as a stopped server does."""
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(10)

    async def _listen(self) -> None:
        self._listening = await self.loop.create_server(lambda: _Connection(self), HOST, self.port)

    async def _close(self) -> None:
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for transport in self._open:
            transport.abort()
        self._open.clear()
        await asyncio.sleep(0.01)  # the loop closes the sockets in its next rounds

    # --- aiosmtpd asks ------------------------------------------------------------------------------------------------

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.mischief.answer_to_mail:
            return self.mischief.answer_to_mail
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Sender ok"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.mischief.answer_to_rcpt and self._is_victim(address):
            return self.mischief.answer_to_rcpt
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Receiver ok"

    async def handle_DATA(self, server: _Connection, session: Session, envelope: Envelope) -> str:  # noqa: N802
        self.tried += 1
        wrong, receiver = self.mischief, envelope.rcpt_tos[0]
        if wrong.closes_after_data:
            wrong.closes_after_data -= 1
            return await server.gone()
        if wrong.defers:
            wrong.defers -= 1
            return f"451 4.7.1 Come back later (ticket {self.tried})"
        if wrong.answer_to_data and self._is_victim(receiver):
            return wrong.answer_to_data
        kept = Kept(time.time(), envelope.mail_from or "", receiver, bytes(envelope.original_content or b""))
        self.kept.append(kept)
        if wrong.keeps_and_closes:
            wrong.keeps_and_closes -= 1
            return await server.gone()
        if wrong.before_answer:
            await asyncio.to_thread(wrong.before_answer, kept)
        server.just_kept = kept
        return f"250 2.0.0 Ok: queued as {len(self.kept)}"

    async def handle_QUIT(self, server: _Connection, session: Session, envelope: Envelope) -> str:  # noqa: N802
        return await server.gone() if self.mischief.closes_at_quit else "221 2.0.0 Bye"

    def _is_victim(self, address: str) -> bool:
        return not self.mischief.victims or address in self.mischief.victims

    def note_open(self, transport: asyncio.WriteTransport) -> None:
        self.connections += 1
        self._open = [*(one for one in self._open if not one.is_closing()), transport]


class _Connection(SMTP):
    """One client."""

    def __init__(self, server: FaultyMailServer) -> None:
        super().__init__(server, ident="faulty", loop=server.loop, **server.options)
        self._server = server
        self.just_kept: Kept | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Comes a second time, with another transport, when TLS begins."""
        if isinstance(transport, asyncio.WriteTransport) and transport.get_extra_info("sslcontext") is None:
            self._server.note_open(transport)
        super().connection_made(transport)

    def abort(self) -> None:
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    async def gone(self) -> str:
        """Ends the connection, and with it the task that calls this."""
        self.abort()
        await asyncio.sleep(3600)
        return ""

    async def push(self, status: AnyStr) -> None:
        wrong, kept = self._server.mischief, self.just_kept
        self.just_kept = None
        if wrong.drips:
            await self._drip(status, wrong.delay_s)
        else:
            await asyncio.sleep(wrong.delay_s)
        await super().push(status)
        if kept is not None and wrong.after_answer:
            wrong.after_answer(kept)

    async def _drip(self, status: str | bytes, pause_s: float) -> None:
        for byte in status.encode() if isinstance(status, str) else status:
            self._writer.write(bytes([byte]))
            await asyncio.sleep(pause_s)
