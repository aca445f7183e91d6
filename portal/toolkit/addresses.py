"""Which addresses the portal may connect to when a person names a place, and what PORTAL_SCRAPE_ALLOW lets through.

Private networks are where monitored machines live, so they are fine. Loopback and the portal's own services are not:
whoever may add a target could speak with them in the portal's name. Metadata services hand out credentials.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_noop as _

from portal.toolkit.sentence import sentence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.com",
        "metadata.platformequinix.com",
        "instance-data",
        "instance-data.ec2.internal",
    }
)
# Clouds' metadata and credential services outside the link-local range.
METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(text)
    for text in ("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")

# RFC 1123 labels, and the underscore that container networks use.
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}")
# What the C library reads as an address: 2130706433, 0x7f.1, 0177.0.0.1, 127.1.
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True, slots=True)
class Allowance:
    """One entry of PORTAL_SCRAPE_ALLOW: a name or a network, and a port unless None."""

    text: str
    name: str | None
    network: Network | None
    port: int | None

    def covers(self, name: str, address: Address, port: int) -> bool:
        """A name lets through what it resolves to, but for link-local and metadata addresses: whoever runs its DNS
        could point it there, so those must be allowed as addresses."""
        if self.port not in (None, port):
            return False
        if self.network is not None:
            return any(each.version == self.network.version and each in self.network for each in spellings(address))
        return self.name == name and not _hands_out_credentials(address)


def parse_allowance(text: str) -> Allowance:
    """`host`, `host:port`, an address, `address:port`, `[v6]:port` or `network/length`; else ImproperlyConfigured."""
    try:
        return Allowance(text, None, ipaddress.ip_network(text), None)
    except ValueError:
        pass
    host, colon, port = text.rpartition(":")
    host, port = (host, port) if colon and port.isascii() and port.isdigit() else (text, "")
    host = host.lower().removeprefix("[").removesuffix("]")
    number = int(port) if port else None
    if number is None or 1 <= number <= 65535:
        try:
            return Allowance(text, None, ipaddress.ip_network(host), number)
        except ValueError:
            if is_name(host):
                return Allowance(text, host, None, number)
    raise ImproperlyConfigured(
        f"PORTAL_SCRAPE_ALLOW: {text!r} is no place; use host, host:port, an address or a network such as 127.0.0.0/8"
    )


@lru_cache(maxsize=8)
def parse_allowances(texts: tuple[str, ...]) -> tuple[Allowance, ...]:
    return tuple(parse_allowance(text) for text in texts)


def is_name(host: str) -> bool:
    """A plain lower-case DNS name; nothing that some library might read as an address."""
    return _NAME.fullmatch(host) is not None and _NUMERIC_END.fullmatch(host) is None


def looks_numeric(host: str) -> bool:
    """Neither a name nor a plain address, but the C library would take it for one."""
    return _NUMERIC_END.fullmatch(host) is not None


def spellings(address: Address) -> Iterator[Address]:
    """`address`, and the IPv4 addresses that an IPv6 one carries (mapped, compatible, 6to4, Teredo, NAT64)."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 0xFFFF):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
        yield from (each for each in inner if each is not None)


def _hands_out_credentials(address: Address) -> bool:
    return any(each.is_link_local or each in METADATA_ADDRESSES for each in spellings(address))


def objection(address: Address, port: int, own: Sequence[OwnService]) -> str | None:
    """Why the portal does not connect there without being allowed to, a stored sentence; None when it may."""
    for each in spellings(address):
        if each.is_loopback:
            return sentence(_("%(address)s is the portal's own machine (loopback)"), address=str(address))
        if each.is_unspecified:
            return sentence(_("%(address)s is no address of a machine"), address=str(address))
        if each in METADATA_ADDRESSES:
            return sentence(_("%(address)s is a cloud's metadata service"), address=str(address))
        if each.is_link_local:
            return sentence(_("%(address)s is link-local, where metadata services are"), address=str(address))
        if each.is_multicast or each in _THIS_NETWORK or (each.version == 4 and each.is_reserved):
            return sentence(_("%(address)s is not the address of one machine"), address=str(address))
    if any(service.is_at(address, port) for service in own):
        words = _("port %(port)s at %(address)s is one of the portal's own services")
        return sentence(words, port=str(port), address=str(address))
    return None


@dataclass(frozen=True, slots=True)
class OwnService:
    """Where the portal itself listens, or what it keeps its data in."""

    host: str
    port: int

    def is_at(self, address: Address, port: int) -> bool:
        """Costs a look-up of the service's own name, and only when the port is the same."""
        if port != self.port:
            return False
        addresses = _addresses_of(self.host)
        if any(each.is_loopback for each in addresses):
            return is_this_machine(address)
        return address in addresses


def own_services() -> list[OwnService]:
    """Database, Redis, mail and web server, as far as they are reached by TCP."""
    database = settings.DATABASES["default"]
    redis, web = urlsplit(settings.REDIS_URL), urlsplit(settings.PORTAL_URL)
    host, port = str(database.get("HOST", "")), str(database.get("PORT") or 5432)
    return [
        *([OwnService(host, int(port))] if host and not host.startswith("/") else []),
        *([OwnService(redis.hostname, redis.port or 6379)] if redis.hostname else []),
        *([OwnService(web.hostname, web.port or (443 if web.scheme == "https" else 80))] if web.hostname else []),
        OwnService(settings.EMAIL_HOST, int(settings.EMAIL_PORT)),
    ]


def _addresses_of(host: str) -> set[Address]:
    try:
        return {ipaddress.ip_address(answer[4][0]) for answer in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError, ValueError):
        return set()


def is_this_machine(address: Address) -> bool:
    """Only an address of this machine can be bound."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
