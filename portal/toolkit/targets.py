"""From a URL that a person typed to the addresses that may be connected to: parsed strictly, resolved once, checked."""

from __future__ import annotations

import ipaddress
import queue
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import httpx
import structlog
from django.conf import settings
from django.utils.translation import gettext_noop as _

from portal.toolkit.addresses import (
    METADATA_NAMES,
    Address,
    is_name,
    looks_numeric,
    objection,
    own_services,
    parse_allowances,
)
from portal.toolkit.sentence import Inner, Quantity, SaidError, say, sentence

log = structlog.get_logger(__name__)

DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "postgres": 5432, "redis": 6379, "rediss": 6379}
WEB = ("http", "https")


class FetchError(SaidError):
    """Nothing usable came; the sentence says why."""


class RefusedError(FetchError):
    """The place itself is wrong or not permitted: nothing was connected to, and trying again changes nothing."""


class Deadline:
    """A point in time that everything of one exchange must come before."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, more than 0; FetchError when there are none."""
        left = self.rest()
        if left <= 0:
            raise self.missed()
        return left

    def rest(self) -> float:
        """Seconds left; 0 or less when there are none."""
        return self._end - time.monotonic()

    def missed(self) -> FetchError:
        return FetchError(_("no complete answer within %(time)s"), time=Quantity(self.seconds, "s"))


Resolve = Callable[[str, float], Sequence[Address]]
"""From a name and the seconds it may take to its addresses; raises FetchError."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart: `host` is a plain lower-case name or address, `path` is ready for the request line."""

    scheme: str
    host: str
    port: int
    path: bytes

    @property
    def place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"


def check_place(
    url: str, schemes: Sequence[str] = WEB, *, timeout_s: float = 2.0, resolve: Resolve | None = None
) -> None:
    """Raise RefusedError when nobody would connect to `url`. A name that is not known yet is no objection."""
    target = parse_target(url, schemes)
    try:
        addresses = _addresses(target, resolve or resolve_name, Deadline(timeout_s))
    except FetchError:
        return
    _permitted(target, addresses)


def parse_target(url: str, schemes: Sequence[str] = WEB) -> Target:
    """Take `url` apart, strictly: what two libraries could read in two ways is refused."""
    if not url.isprintable() or "\\" in url or " " in url.strip():
        raise RefusedError(_("the URL has spaces, backslashes or control characters in it"))
    try:
        parts = httpx.URL(url.strip())
        host = parts.raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise RefusedError(_("the URL is not valid: %(error)s"), error=str(error)) from error
    if parts.scheme not in schemes:
        raise RefusedError(_("the URL must start with %(starts)s"), starts=Inner(_starts(schemes)))
    if parts.userinfo:
        raise RefusedError(_("the URL must not hold a user name or password"))
    port = DEFAULT_PORTS.get(parts.scheme) if parts.port is None else parts.port
    if port is None:
        raise RefusedError(_("the URL needs a port, like %(scheme)s://192.0.2.7:25"), scheme=parts.scheme)
    if not 1 <= port <= 65535:
        raise RefusedError(_("port %(port)s does not exist"), port=str(port))
    return Target(parts.scheme, _plain_host(host), port, parts.raw_path)


def _starts(schemes: Sequence[str]) -> str:
    """How a URL may begin, as a stored sentence."""
    first, *others = (f"{scheme}://" for scheme in schemes)
    found = first
    for other in others:
        found = sentence(_("%(one)s or %(other)s"), one=Inner(found), other=other)
    return found


def _plain_host(host: str) -> str:
    host = host.removesuffix(".")
    try:
        return str(ipaddress.ip_address(host if "%" not in host else ""))
    except ValueError:
        pass
    if looks_numeric(host):
        raise RefusedError(_("write the address %(host)s in the usual way, like 192.0.2.7"), host=host)
    if not is_name(host):
        raise RefusedError(_("“%(host)s” is not the name of a machine"), host=host)
    return host


def resolve_name(name: str, timeout_s: float) -> Sequence[Address]:
    """The system's answer for `name`. The C library knows no time-out, so it is asked in a thread that may be left."""
    answers: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name="resolve").start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise FetchError(_("the name %(name)s was not found in time (DNS)"), name=name) from None
    if isinstance(answer, Exception):
        raise FetchError(_("the name %(name)s is not known (DNS)"), name=name) from answer
    return [ipaddress.ip_address(entry[4][0]) for entry in answer if "%" not in str(entry[4][0])]


def permitted_addresses(target: Target, resolve: Resolve, deadline: Deadline) -> list[Address]:
    """The addresses of `target` that may be connected to, in the resolver's order; FetchError when there are none."""
    return _permitted(target, _addresses(target, resolve, deadline))


def _addresses(target: Target, resolve: Resolve, deadline: Deadline) -> Sequence[Address]:
    try:
        return [ipaddress.ip_address(target.host)]
    except ValueError:
        # Names of metadata services are not even looked up: nothing but a credential is at the other end.
        return [] if target.host in METADATA_NAMES else resolve(target.host, deadline.left())


def _permitted(target: Target, addresses: Sequence[Address]) -> list[Address]:
    if target.host in METADATA_NAMES:
        raise RefusedError(_("%(host)s is a cloud's metadata service"), host=target.host)
    own = own_services()
    refusals = {address: objection(address, target.port, own) for address in addresses}
    permitted = [
        address for address, reason in refusals.items() if reason is None or _is_allowed(target, address, reason)
    ]
    if not permitted:
        reason = next((reason for reason in refusals.values() if reason), None)
        if reason is None:
            raise FetchError(_("the name %(name)s has no address (DNS)"), name=target.host)
        raise RefusedError(
            _("%(reason)s; only the setting PORTAL_SCRAPE_ALLOW can permit it (here: %(place)s)"),
            reason=Inner(reason),
            place=target.place,
        )
    return permitted


def _is_allowed(target: Target, address: Address, reason: str) -> bool:
    for allowance in parse_allowances(tuple(settings.SCRAPE_ALLOW)):
        if allowance.covers(target.host, address, target.port):
            _log_allowance(allowance.text, target.place, str(address), say(reason))
            return True
    return False


@lru_cache(maxsize=1000)
def _log_allowance(entry: str, place: str, address: str, reason: str) -> None:
    """Once per process: what the operator opened is to be seen in the log."""
    log.warning("scrape_allowed_by_setting", entry=entry, place=place, address=address, otherwise=reason)
