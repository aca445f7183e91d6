"""A container engine, Docker or Podman, by its HTTP API: how many containers run, and each of them as a server."""

from __future__ import annotations

import re
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from ssl import SSLContext, SSLError
from urllib.parse import quote, urlsplit

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.utils.translation import gettext_noop as _t

from monitoring.collectors.base import Collected, CollectError, Found
from monitoring.collectors.container import container_values
from monitoring.collectors.counters import Counters
from monitoring.collectors.found import MOST
from monitoring.collectors.measures import tidy
from monitoring.collectors.options import Needs, option, read_options, secret_of
from monitoring.collectors.shape import Shape, at, read_object, read_objects, text
from monitoring.collectors.together import together
from monitoring.history.frame import SeriesName
from monitoring.models import ServerKind, Source
from portal.toolkit.http import Fetched, FetchError, fetch, tls_context
from portal.toolkit.printable import printable
from portal.toolkit.sentence import Inner, Term, counted, paragraph
from portal.toolkit.targets import Deadline, check_place
from portal.toolkit.unix_http import fetch_unix

DEFAULT_URL = "unix:///var/run/docker.sock"
TLS_PORT = 2376
LISTING_BYTES = 16_000_000
CONTAINER_BYTES = 1_000_000

_ID = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
_PEM = re.compile(r"(-----BEGIN [A-Z ]+-----)([A-Za-z0-9+/=\s]+)(-----END [A-Z ]+-----)")
_VANISHED = 404

Ask = Callable[[str, int], Fetched]
"""From a path and the most bytes to the answer; raises FetchError, also when the deadline of the whole run is over."""


@dataclass(frozen=True, slots=True)
class Container:
    """One that was listed; None instead of values that it has gone. `trouble`: why it could not be measured, as a
    stored sentence."""

    id: str
    name: str
    image: str
    stats: Shape | None = field(default_factory=dict)
    details: Shape = field(default_factory=dict)
    trouble: str = ""


def collect(source: Source, now_ms: int) -> Collected:
    """One request for the list and two for each container, of which eight are asked at a time."""
    ask = engine(source, Deadline(source.timeout_s))
    listed = read_objects(_said(ask, "/containers/json", LISTING_BYTES), Term(_t("the list of containers")))
    containers = sorted(filter(None, map(_listed, listed)), key=lambda one: one.name)
    measured = together(lambda container: _measure(ask, container), containers[:MOST])
    counters = Counters.recall(source, now_ms)
    found = [_found(one, counters, now_ms) for one in [*measured, *containers[MOST:]] if one.stats is not None]
    counters.keep()
    running = sum(text(each, "State") in {"running", ""} for each in listed)
    values = {SeriesName("containers"): float(running)}
    samples = len(values) + sum(len(one.values) for one in found)
    return Collected(values, samples, _complaint(measured, len(listed) - len(containers)), found)


@dataclass(frozen=True, slots=True)
class Options:
    authority: str = option(
        gettext_lazy("CA certificate"),
        default="",
        lines=True,
        help=gettext_lazy("PEM, of an engine with TLS: who signed its certificate. Empty: the system's authorities."),
    )
    certificate: str = option(
        gettext_lazy("Our certificate"),
        default="",
        lines=True,
        help=gettext_lazy("PEM, of an engine with TLS; its private key is the secret."),
    )


def check_url(url: str) -> None:
    """Raise ValidationError, in words for whoever typed it, when no engine could be asked there."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/") or "\0" in parts.path:
            raise ValidationError(_("Write a socket as unix:///path/to/it."), code="url")
        return
    try:
        check_place(_web_address(url))
    except (FetchError, CollectError) as error:
        raise ValidationError(str(error), code="url") from error


NEEDS = Needs(
    url="optional",
    check_url=check_url,
    says=gettext_lazy("unix:///var/run/docker.sock when empty; or tcp://host:port, https://host:port"),
    secret=True,
    options=Options,
)


# --- The engine -------------------------------------------------------------------------------------------------------
def engine(source: Source, deadline: Deadline) -> Ask:
    """How to ask the engine of `source`: unix:///path, tcp://host:port, or a URL. CollectError for anything else."""
    url = source.url or DEFAULT_URL
    parts = urlsplit(url)
    if parts.scheme == "unix":
        path = parts.path
        return lambda target, most: fetch_unix(path, target, timeout_s=deadline, max_bytes=most)
    base, tls = _web_address(url), _client_tls(source)
    return lambda target, most: fetch(base + target, timeout_s=deadline, max_bytes=most, tls=tls)


def _web_address(url: str) -> str:
    """tcp:// is what the engine's own tools write; its port says whether that is with TLS."""
    parts = urlsplit(url)
    if parts.scheme != "tcp":
        return url.rstrip("/")
    try:
        scheme = "https" if parts.port == TLS_PORT else "http"
    except ValueError as error:
        raise CollectError(_t("the URL is not valid: %(error)s"), error=str(error)) from error
    return f"{scheme}://{parts.netloc}"


def _client_tls(source: Source) -> SSLContext | None:
    """The engine's own authority and our certificate, as far as the source has them; the secret is the key."""
    options = read_options(Options, source)
    if not options.authority and not options.certificate:
        return None
    try:
        context = tls_context(options.authority)
        if options.certificate:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:  # the library takes them from files only
                pair.write(f"{options.certificate}\n{_pem(secret_of(source))}\n")
                pair.flush()
                context.load_cert_chain(pair.name, password="")
    except (SSLError, ValueError) as error:
        raise CollectError(_t("the certificates of this source are not usable: %(error)s"), error=str(error)) from error
    return context


def _pem(text: str) -> str:
    """With the line breaks that a password field of a browser takes out."""
    return _PEM.sub(lambda match: "\n".join([match[1], *textwrap.wrap("".join(match[2].split()), 64), match[3]]), text)


def _said(ask: Ask, target: str, most: int) -> Fetched:
    try:
        return ask(target, most)
    except FetchError as error:
        raise CollectError.of(error) from error


# --- Containers -------------------------------------------------------------------------------------------------------
def _listed(listed: Shape) -> Container | None:
    """Without the names that links of others give it, which have a slash in the middle."""
    names = at(listed, "Names")
    own = [name.lstrip("/") for name in names if isinstance(name, str)] if isinstance(names, list) else []
    name = next((name for name in own if "/" not in name), "")
    identity = text(listed, "Id")
    if not _ID.fullmatch(identity) or not name:
        return None
    return Container(identity, name, text(listed, "Image"))


def _measure(ask: Ask, container: Container) -> Container:
    """What the engine says of it now. Without `one-shot` it would take a second for each to work out rates itself."""
    where = f"/containers/{quote(container.id)}"
    try:
        stats, details = (
            ask(f"{where}/stats?stream=false&one-shot=true", CONTAINER_BYTES),
            ask(f"{where}/json", CONTAINER_BYTES),
        )
        if _VANISHED in {stats.status, details.status}:
            return Container(container.id, container.name, container.image, None)
        return Container(
            container.id,
            container.name,
            container.image,
            read_object(stats, container.name),
            read_object(details, container.name),
        )
    except (FetchError, CollectError) as error:
        return Container(container.id, container.name, container.image, trouble=error.stored)


def _found(container: Container, counters: Counters, now_ms: int) -> Found:
    values = {}
    if container.stats:
        values = tidy(container_values(container.id[:12], container.stats, container.details, counters, now_ms))
    return Found(container.name, ServerKind.CONTAINER, values, container.image)


def _complaint(measured: list[Container], unusable: int) -> str:
    words = []
    troubled = [one for one in measured if one.trouble]
    if troubled:
        words.append(
            counted(
                "%(count)d container could not be measured: “%(name)s” (%(trouble)s).",
                "%(count)d containers could not be measured; the first is “%(name)s” (%(trouble)s).",
                len(troubled),
                name=printable(troubled[0].name, 60),
                trouble=Inner(troubled[0].trouble),
            )
        )
    if unusable:
        words.append(counted("%(count)d container has no name.", "%(count)d containers have no name.", unusable))
    return paragraph(words)
