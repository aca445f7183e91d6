"""A PostgreSQL server (12 or later): one connection a run, read-only, with a deadline at every step.

The role needs no more than to connect. A member of pg_monitor sees more; what the role may not see is left out.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import certifi
import psycopg
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop as _t

from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.counters import Counters
from monitoring.collectors.credentials import OWN, parts_of, refuse_password
from monitoring.collectors.measures import tidy
from monitoring.collectors.options import Needs, option, read_options, secret_of
from monitoring.collectors.postgres_reading import Reading
from monitoring.models import Source
from portal.toolkit.printable import printable
from portal.toolkit.sentence import paragraph, sentence
from portal.toolkit.targets import (
    Deadline,
    FetchError,
    check_place,
    parse_target,
    permitted_addresses,
    resolve_name,
)

SCHEMES = ("postgresql", "postgres")
LEAST_CONNECT_S = 2
"""What libpq makes of a shorter time."""


def check_url(url: str) -> None:
    """Raise ValidationError, in words, when `url` names no PostgreSQL that may be connected to, nor our own."""
    if url == OWN:
        return
    refuse_password(url)
    parts = parts_of(url)
    if "?" in parts.place or "#" in parts.place:
        raise ValidationError(_("Nothing follows the name of the database; TLS is chosen below."))
    if not parts.user:
        raise ValidationError(_("The URL names the role: postgresql://user@host:5432/database."))
    try:
        check_place(parts.bare, SCHEMES)
    except FetchError as error:
        raise ValidationError(str(error), code="url") from error


@dataclass(frozen=True, slots=True)
class Options:
    tls: str = option(
        _("TLS"),
        default="prefer",
        choices=("prefer", "require", "verify-full"),
        help=_("prefer: where the server offers it. require: always. verify-full: and with a valid certificate."),
    )
    slow_ms: int = option(
        _("A slow query takes (ms)"),
        default=1000,
        least=1,
        most=3_600_000,
        help=_("As pg_stat_statements counts them."),
    )


NEEDS = Needs(
    check_url=check_url,
    says=_(
        "postgresql://user@host:5432/database, with a role that is a member of pg_monitor. "
        "“own:” is the database of this portal."
    ),
    secret=True,
    options=Options,
)


def collect(source: Source, now_ms: int) -> Collected:
    options, deadline = read_options(Options, source), Deadline(source.timeout_s)
    try:
        said = _own() if source.url == OWN else _named(source, options, deadline)
        with _connected(said, deadline) as connection:
            reading = Reading(connection, Counters.recall(source, now_ms), options.slow_ms)
            values = reading.values()
    except FetchError as error:
        raise CollectError.of(error) from error
    except psycopg.Error as error:
        raise CollectError(_words(error, deadline)) from error
    reading.counters.keep()
    return Collected(tidy(values), len(values), paragraph(reading.complaints))


# --- Connecting -------------------------------------------------------------------------------------------------------
def _named(source: Source, options: Options, deadline: Deadline) -> dict[str, Any]:
    """What libpq is told: the checked addresses, and the host for its certificate only."""
    parts = parts_of(source.url)
    target = parse_target(parts.bare, SCHEMES)
    addresses = permitted_addresses(target, resolve_name, deadline)
    addresses = addresses[: max(1, int(deadline.left() / LEAST_CONNECT_S))]  # they are tried one after the other
    name = unquote(target.path.decode().lstrip("/")) or parts.user_name
    plain = options.tls == "verify-full"
    return {
        "host": ",".join([target.host] * len(addresses)),
        "hostaddr": ",".join(map(str, addresses)),
        "port": target.port,
        "connect_timeout": max(LEAST_CONNECT_S, int(deadline.left() / len(addresses))),
        "user": parts.user_name,
        "password": secret_of(source),
        "dbname": name,
        "sslmode": options.tls,
        "sslrootcert": _authorities() if plain else "",
        "sslcertmode": "disable",
        "ssl_min_protocol_version": "TLSv1.2",
        # Whoever answers in the server's place may ask for the password as it is; only a known one gets it.
        "require_auth": "" if plain else "!password,!gss,!sspi",
    }


def _own() -> dict[str, Any]:
    """The portal's own database, as its settings say."""
    known = settings.DATABASES["default"]
    tls = {name: value for name, value in known.get("OPTIONS", {}).items() if name.startswith("ssl")}
    said = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    return {**{name: known[key] for name, key in said.items() if known.get(key)}, **tls, "connect_timeout": 5}


def _authorities() -> str:
    """A file of certificates: the system's, where an operator's own are too, or the public ones."""
    system = ssl.get_default_verify_paths().cafile
    return system if system and Path(system).is_file() else certifi.where()


@contextmanager
def _connected(said: dict[str, Any], deadline: Deadline) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    """Connected and read-only until the deadline: then the connection is cut, whatever the server is doing."""
    connection = psycopg.connect(
        **said,
        application_name="openmanager",
        gssencmode="disable",
        passfile="/dev/null",
        autocommit=True,
        prepare_threshold=None,
        row_factory=psycopg.rows.dict_row,
    )
    cut = threading.Timer(max(0.0, deadline.rest()), _cut, [connection])
    cut.daemon = True
    cut.start()
    try:
        with closing(connection):
            limit_ms = max(1, int(500 * deadline.left()))  # one slow part leaves time for the others
            connection.execute(f"SET statement_timeout = {limit_ms}; SET lock_timeout = {limit_ms}")
            connection.execute("SET default_transaction_read_only = on")
            yield connection
    finally:
        cut.cancel()


def _cut(connection: psycopg.Connection[Any]) -> None:
    """End the connection below libpq, which may be waiting in another thread for a server that says nothing."""
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        return


def _words(error: psycopg.Error, deadline: Deadline) -> str:
    """As a stored sentence."""
    if deadline.rest() <= 0:
        return deadline.missed().stored
    said = " · ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return sentence(_t("PostgreSQL says: %(error)s"), error=printable(said, 300) or type(error).__name__)
