"""Mistakes across settings, found before anything starts: `manage.py check`, and every command that checks first.

A setting that is wrong by itself is refused where it is read (portal/toolkit/env.py).
"""

from __future__ import annotations

import ipaddress
import resource
from collections.abc import Iterator
from email.utils import parseaddr
from typing import Any
from urllib.parse import SplitResult, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

from portal.toolkit.addresses import parse_allowance
from portal.toolkit.services import TLS_MODES

SHORTEST_SECRET = 32
FILES_BESIDE = 500
"""What a web process has open beside its sockets, at the most."""


@register
def check_settings(**_: Any) -> list[CheckMessage]:
    return [
        *_services(),
        *_secret(),
        *_hosts(),
        *_encryption(),
        *_scrape_allow(),
        *_syslog(),
        *_mail_from(),
        *_live_sockets(),
        *_languages(),
    ]


def _services() -> Iterator[CheckMessage]:
    if not settings.DATABASES["default"].get("NAME"):
        yield Error(
            "DATABASE_URL is missing: the portal keeps everything in PostgreSQL.",
            hint="Set DATABASE_URL=postgresql://user:password@host:5432/name, or run `manage.py up`, which brings one.",
            id="portal.E001",
        )
    if not settings.REDIS_URL:
        yield Error(
            "REDIS_URL is missing: live pages, workers and the newest values need Redis.",
            hint="Set REDIS_URL=redis://host:6379/0, or run `manage.py up`, which brings one.",
            id="portal.E002",
        )


def _secret() -> Iterator[CheckMessage]:
    try:
        secret = settings.SECRET_KEY
    except ImproperlyConfigured:
        secret = ""
    if len(secret) < SHORTEST_SECRET:
        yield Error(
            f"PORTAL_SECRET_KEY is {'too short' if secret else 'missing'}: it signs sessions and links.",
            hint=f"Set PORTAL_SECRET_KEY to at least {SHORTEST_SECRET} random characters and keep it; "
            'python3 -c "import secrets; print(secrets.token_urlsafe(50))" makes one.',
            id="portal.E003",
        )


def _hosts() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS:
        yield Error(
            "PORTAL_HOSTS contains *: then anybody's host name ends up in links of mails.",
            hint="Name the hosts that people type, separated by commas.",
            id="portal.E004",
        )
    place = urlsplit(settings.PORTAL_URL)
    if place.scheme not in {"http", "https"} or not place.hostname or not _has_right_port(place):
        yield Error(
            f"PORTAL_URL={settings.PORTAL_URL!r} is no address of a web site.",
            hint="Use https://monitor.example.org, as people type it.",
            id="portal.E005",
        )
    elif not _is_allowed_host(place.hostname):
        yield Error(
            f"PORTAL_URL names {place.hostname}, which is not in PORTAL_HOSTS: every page there would be refused.",
            hint=f"Add {place.hostname} to PORTAL_HOSTS.",
            id="portal.E006",
        )


def _has_right_port(place: SplitResult) -> bool:
    try:
        return place.port is None or place.port > 0
    except ValueError:
        return False


def _is_allowed_host(host: str) -> bool:
    from django.http.request import validate_host

    return validate_host(f"[{host}]" if ":" in host else host, settings.ALLOWED_HOSTS)


def _encryption() -> Iterator[CheckMessage]:
    database = settings.DATABASES["default"]
    mode = database.get("OPTIONS", {}).get("sslmode", "prefer")
    if not _is_here(database.get("HOST", "")) and mode not in TLS_MODES:
        yield Warning(
            "DATABASE_URL: PostgreSQL is on another machine and may be spoken to without TLS.",
            hint="Add ?sslmode=verify-full (and sslrootcert=…) to DATABASE_URL.",
            id="portal.W001",
        )
    redis = urlsplit(settings.REDIS_URL)
    if redis.scheme == "redis" and not _is_here(redis.hostname or ""):
        yield Warning(
            "REDIS_URL: Redis is on another machine and is spoken to without TLS.",
            hint="Use rediss:// in REDIS_URL.",
            id="portal.W002",
        )


def _is_here(host: str) -> bool:
    """Whether `host` is this machine: no host, a socket's folder, or loopback."""
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _scrape_allow() -> Iterator[CheckMessage]:
    for text in settings.SCRAPE_ALLOW:
        try:
            parse_allowance(text)
        except ImproperlyConfigured as problem:
            yield Error(
                str(problem), hint="Correct PORTAL_SCRAPE_ALLOW; entries are separated by commas.", id="portal.E007"
            )


def _syslog() -> Iterator[CheckMessage]:
    from monitoring.ingest.syslog_senders import parse  # (models can be imported only when the apps are loaded)

    try:
        parse(settings.SYSLOG_ALLOW)
    except ImproperlyConfigured as problem:
        yield Error(
            str(problem), hint="Correct PORTAL_SYSLOG_ALLOW; entries are separated by commas.", id="portal.E009"
        )
    try:
        ZoneInfo(settings.SYSLOG_ZONE)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        yield Error(
            f"PORTAL_SYSLOG_ZONE={settings.SYSLOG_ZONE!r} is no time zone.",
            hint="Use Asia/Seoul, or UTC.",
            id="portal.E010",
        )


def _mail_from() -> Iterator[CheckMessage]:
    try:
        validate_email(parseaddr(settings.DEFAULT_FROM_EMAIL)[1])
    except ValidationError:
        yield Error(
            f"PORTAL_MAIL_FROM={settings.DEFAULT_FROM_EMAIL!r} is no mail address: no mail could be sent.",
            hint="Use OpenManager <monitor@example.org>.",
            id="portal.E008",
        )


def _live_sockets() -> Iterator[CheckMessage]:
    if settings.LIVE_SOCKETS_PER_PERSON > settings.LIVE_SOCKETS:
        yield Warning(
            f"PORTAL_LIVE_SOCKETS_PER_PERSON={settings.LIVE_SOCKETS_PER_PERSON} is more than all together may open, "
            f"PORTAL_LIVE_SOCKETS={settings.LIVE_SOCKETS}.",
            hint="Lower the first or raise the second: one person could keep everybody else out.",
            id="portal.W005",
        )
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files != resource.RLIM_INFINITY and files < settings.LIVE_SOCKETS + FILES_BESIDE:
        yield Warning(
            f"PORTAL_LIVE_SOCKETS={settings.LIVE_SOCKETS}: a process here may have {files} files open, "
            "and every socket is one.",
            hint="Raise the limit of open files (LimitNOFILE= in systemd, ulimit -n), or lower PORTAL_LIVE_SOCKETS.",
            id="portal.W004",
        )


def _languages() -> Iterator[CheckMessage]:
    for code, _name in settings.LANGUAGES:
        compiled = settings.LOCALE_PATHS[0] / code / "LC_MESSAGES" / "django.mo"
        if code != settings.LANGUAGE_CODE and not compiled.is_file():
            yield Warning(
                f"The translation into {code!r} is not compiled: pages in it are half English.",
                hint=f"Run `manage.py compilemessages -l {code}`.",
                id="portal.W003",
            )
