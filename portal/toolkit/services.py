"""From the URLs of PostgreSQL, Redis and SMTP to the settings of the libraries that speak with them.

A URL is where an operator says everything: host, password, socket, TLS. TLS is never below 1.2.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote

from django.core.exceptions import ImproperlyConfigured

TLS_MODES = {"require", "verify-ca", "verify-full"}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def postgres_settings(url: SplitResult, *, pool_size: int) -> dict[str, Any]:
    """`DATABASES["default"]` for postgresql://user:password@host:port/name?sslmode=verify-full&host=/socket/folder."""
    options: dict[str, Any] = dict(parse_qsl(url.query))
    host = options.pop("host", None) or unquote(url.hostname or "")
    port = options.pop("port", None) or str(url.port or "")
    if options.get("sslmode") in TLS_MODES:
        options.setdefault("ssl_min_protocol_version", "TLSv1.2")
    options |= {
        "pool": {"min_size": 1, "max_size": pool_size, "timeout": 5, "max_idle": 120},
        "connect_timeout": 5,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "application_name": "openmanager",
    }
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.lstrip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": host,
        "PORT": port,
        "CONN_MAX_AGE": 0,  # the pool keeps connections; Django asks for a fresh one per request
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


def redis_tls(url: SplitResult) -> dict[str, Any]:
    """Keyword arguments of redis-py for a rediss:// URL: certificates are checked, TLS is at least 1.2."""
    if url.scheme != "rediss":
        return {}
    import ssl

    return {"ssl_cert_reqs": "required", "ssl_min_version": ssl.TLSVersion.TLSv1_2}


def keep_alive(*, seconds: int) -> dict[int, int]:
    """Socket options that find a connection dead after being idle for so long, where the system has them."""
    wanted = {"TCP_KEEPIDLE": seconds, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
    return {getattr(socket, name): value for name, value in wanted.items() if hasattr(socket, name)}


def celery_broker_url(url: SplitResult) -> str:
    """The broker's URL: Celery spells a unix socket redis+socket://."""
    if url.scheme == "unix":
        return f"redis+socket://{url.path}" + (f"?{url.query}" if url.query else "")
    return url.geturl()


def email_settings(url: SplitResult) -> dict[str, Any]:
    """Django's EMAIL_* settings for smtp://, smtp+tls:// (STARTTLS) or smtps:// with user and password in the URL."""
    if not url.hostname:
        raise ImproperlyConfigured("EMAIL_URL: names no host, use smtp://host:port")
    return {
        "EMAIL_HOST": url.hostname,
        "EMAIL_PORT": url.port or {"smtp": 25, "smtp+tls": 587, "smtps": 465}[url.scheme],
        "EMAIL_HOST_USER": unquote(url.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(url.password or ""),
        "EMAIL_USE_TLS": url.scheme == "smtp+tls",
        "EMAIL_USE_SSL": url.scheme == "smtps",
    }
