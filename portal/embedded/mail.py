"""A mail server for one machine: takes every mail over SMTP and keeps it as a file (Maildir). It delivers nothing.

python -m portal.embedded.mail PORT FOLDER
"""

from __future__ import annotations

import asyncio
import contextlib
import mailbox
import signal
import smtplib
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"
LARGEST_BYTES = 10_000_000


class Keeper:
    """aiosmtpd's handler: a mail is on the disk before it is accepted."""

    def __init__(self, folder: Path) -> None:
        for room in ("tmp", "new", "cur"):  # Maildir makes them only together with the folder, which we have already
            (folder / room).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._box = mailbox.Maildir(folder)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep the mail under the addresses of its envelope: what a client asked for, whatever the mail says itself."""
        sender = _one_line(envelope.mail_from or "")
        receivers = ", ".join(_one_line(address) for address in envelope.rcpt_tos)
        head = f"X-MailFrom: {sender}\nX-RcptTo: {receivers}\n".encode()
        content = envelope.original_content or b""
        try:
            self._box.add(head + content.replace(b"\r\n", b"\n"))
        except OSError as error:
            return f"452 4.3.1 The mail could not be kept: {error.strerror}"
        return "250 2.0.0 Kept"


def _one_line(address: str) -> str:
    return "".join(letter for letter in address if letter.isprintable())


async def serve(port: int, folder: Path) -> None:
    """Until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    keeper = Keeper(folder)
    server = await loop.create_server(
        lambda: SMTP(keeper, data_size_limit=LARGEST_BYTES, enable_SMTPUTF8=True, ident="OpenManager", loop=loop),
        HOST,
        port,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


def free_port(host: str = HOST) -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server((host, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def url_of(port: int) -> str:
    return f"smtp://{HOST}:{port}"


def wait_until_ready(url: str, timeout_s: float) -> bool:
    """Whether the server at `url` answered within `timeout_s`."""
    port = urlsplit(url).port or 25
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, smtplib.SMTPException), smtplib.SMTP(HOST, port, timeout=2) as client:
            client.noop()
            return True
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
