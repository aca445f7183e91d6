"""Who may send syslog, which knows no tokens: networks that PORTAL_SYSLOG_ALLOW names, each as a push token."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.core.exceptions import ImproperlyConfigured

from monitoring.ingest import tokens
from monitoring.models import PushToken
from portal.toolkit.addresses import Address, Network
from portal.toolkit.intake import ForbiddenError

KNOWN_FOR_S = 10.0
USE = "use network=push token, as in 10.0.0.0/8=Network devices"


class Allowed(NamedTuple):
    network: Network
    token: str


class Senders:
    """Whoever is in none of the networks is refused: by default everybody."""

    def __init__(self, allowed: Sequence[Allowed]) -> None:
        self._allowed = sorted(allowed, key=lambda each: -each.network.prefixlen)
        self._tokens: dict[str, tuple[float, PushToken | None, str]] = {}

    def token_name(self, peer: str) -> str | None:
        """The token that the address `peer` sends as, None when it may not; the smallest network decides."""
        address = _address(peer)
        if address is None:
            return None
        return next((each.token for each in self._allowed if _contains(each.network, address)), None)

    def token(self, name: str) -> tuple[PushToken | None, str]:
        """The token, or None and why it cannot be used. Remembered for KNOWN_FOR_S; raises OperationalError."""
        until, token, reason = self._tokens.get(name, (0.0, None, ""))
        if until < time.monotonic():
            token, reason = _look_up(name)
            self._tokens[name] = (time.monotonic() + KNOWN_FOR_S, token, reason)
        return token, reason


def parse(words: Iterable[str]) -> list[Allowed]:
    """The entries of PORTAL_SYSLOG_ALLOW. Raises ImproperlyConfigured."""
    return [_allowed(word) for word in words]


def _allowed(word: str) -> Allowed:
    network, equals, token = (part.strip() for part in word.partition("="))
    if not equals or not token:
        raise ImproperlyConfigured(f"PORTAL_SYSLOG_ALLOW: {word!r} names no push token; {USE}")
    try:
        return Allowed(ipaddress.ip_network(network), token)
    except ValueError as error:
        raise ImproperlyConfigured(f"PORTAL_SYSLOG_ALLOW: {network!r} is no network ({error}); {USE}") from None


def _address(peer: str) -> Address | None:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _contains(network: Network, address: Address) -> bool:
    return address.version == network.version and address in network


def _look_up(name: str) -> tuple[PushToken | None, str]:
    try:
        token = tokens.called(name)
    except ForbiddenError as error:
        return None, str(error)
    return token, "" if token else "there is no push token of this name"
