"""Where the portal listens, and under which names people reach it."""

from __future__ import annotations

import contextlib
import errno
import socket

import psutil

from portal.embedded.errors import StartError

EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 (compared with, not listened on)
BACKLOG = 2048  # connections that wait to be taken; the kernel may allow fewer
UDP_BUFFER = 8 << 20
DEAF_MS = 60_000
"""A peer that takes nothing for so long is let go by the kernel; whoever writes to it would wait for ever."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def listen(host: str, port: int, option: str = "--port") -> socket.socket:
    """Listens on `port`, or on a free one for 0; programs inherit it. Raises StartError when nobody can listen there.

    From now on a connection waits until one of them takes it, and is not refused while they start or after one died.
    """
    if not 0 <= port <= 65535:
        raise StartError(f"{option} {port}: use a number from 1 to 65535, or 0 for a free one.")
    try:
        return _listener(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"Port {port} is taken{_by_whom(port)}: choose another with {option}.") from None
        if error.errno == errno.EACCES:
            raise StartError(f"Port {port} needs root: choose one from 1024 on with {option}.") from None
        raise StartError(f"--host {host}: this machine cannot listen there ({error.strerror}).") from None


def listen_udp(host: str, port: int, option: str = "--port") -> socket.socket:
    """Takes datagrams on `port`. While nobody reads them they wait in the kernel, as many as it allows, at most 8 MB.

    Raises StartError.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    taker = socket.socket(family, kind, protocol)
    try:
        taker.bind(address)
    except OSError as error:
        taker.close()
        raise StartError(f"UDP port {port} cannot be had ({error.strerror}): choose another with {option}.") from None
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER)
    return taker


def _listener(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # what is accepted inherits it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAF_MS)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def public_url(host: str, port: int) -> str:
    """What people type, and what links in mail start with."""
    if host in EVERYWHERE:
        host = _own_addresses()[0] if _own_addresses() else "127.0.0.1"
    return f"http://{_bracketed(host)}:{port}"


def host_names(host: str) -> list[str]:
    """The names under which requests are accepted: this machine's own only, and loopback alone unless it is opened."""
    names = [*LOOPBACK]
    if host in EVERYWHERE:
        names += [socket.gethostname(), *(_bracketed(address) for address in _own_addresses())]
    else:
        names.append(_bracketed(host))
    return list(dict.fromkeys(names))


def _own_addresses() -> list[str]:
    addresses = [
        address.address.partition("%")[0]
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family in {socket.AF_INET, socket.AF_INET6}
    ]
    private_first = sorted(addresses, key=lambda address: ":" in address)
    return [address for address in private_first if not address.startswith(("127.", "::1", "fe80:"))]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _by_whom(port: int) -> str:
    """ "Such as " by nginx (process 123)"; nothing when the system does not tell us."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    return ""
