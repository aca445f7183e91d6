"""A TCP check: does a port answer, how fast, with TLS and the right greeting if asked for?

A check that fails is a run that worked: `check_up` is 0, and the complaint says why.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop as _t

from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.certificates import CERTIFICATE, certificate_days, refused_certificate_days
from monitoring.collectors.credentials import parts_of
from monitoring.collectors.http import TIME, UP
from monitoring.collectors.measures import Values, of_check, tidy
from monitoring.collectors.options import Needs, option, read_options
from monitoring.models import Source
from portal.toolkit.addresses import Address
from portal.toolkit.printable import printable
from portal.toolkit.sentence import Inner, sentence
from portal.toolkit.targets import (
    Deadline,
    FetchError,
    RefusedError,
    Target,
    check_place,
    parse_target,
    permitted_addresses,
    resolve_name,
)
from portal.toolkit.wire import CertificateError, TimedStream, dial, in_words, tls_context, usual_tls

SCHEMES = ("tcp", "tls")
MAX_BANNER = 4096


def check_url(url: str) -> None:
    """Raise ValidationError, in words, when `url` is no tcp://host:port or tls://host:port that may be connected to."""
    if parts_of(url).user or parts_of(url).password:
        raise ValidationError(_("A port is checked without a user or password."))
    try:
        target = parse_target(url, SCHEMES)
        check_place(url, SCHEMES)
    except FetchError as error:
        raise ValidationError(str(error), code="url") from error
    if target.path != b"/":
        raise ValidationError(_("A port has no path: write tcp://host:port or tls://host:port."))


@dataclass(frozen=True, slots=True)
class Options:
    name: str = option(
        _("Name of this check"), default="", help=_("Where a server has several; its values get it as a label.")
    )
    banner: str = option(
        _("The greeting must contain"),
        default="",
        help=_("What the server says first by itself, like SSH-2.0 or 220; empty: connecting is enough."),
    )
    verify: bool = option(_("The certificate must be valid"), default=True)


NEEDS = Needs(
    check_url=check_url, says=_("A port that must answer: tcp://host:22, or tls://host:465."), options=Options
)


def collect(source: Source, now_ms: int) -> Collected:
    options, deadline = read_options(Options, source), Deadline(source.timeout_s)
    try:
        target = parse_target(source.url, SCHEMES)
        values, complaint = _checked(target, options, deadline, now_ms)
    except RefusedError as error:
        raise CollectError.of(error) from error
    known = sum(not math.isnan(value) for value in values.values())
    return Collected(of_check(tidy(values), options.name), known, complaint)


def _checked(target: Target, options: Options, deadline: Deadline, now_ms: int) -> tuple[Values, str]:
    """What the check measured, and why it failed, a stored sentence. Raises RefusedError."""
    values: Values = {UP: 0.0, TIME: math.nan, **({CERTIFICATE: math.nan} if target.scheme == "tls" else {})}
    try:
        addresses = permitted_addresses(target, resolve_name, deadline)
        began = time.monotonic()
        with in_words(target.place, deadline), closing(_connected(target, addresses, options, deadline)) as stream:
            values[TIME] = 1000 * (time.monotonic() - began)
            if target.scheme == "tls":
                values[CERTIFICATE] = certificate_days(stream.certificate, now_ms)
            complaint = _banner_objection(stream, options.banner) if options.banner else ""
    except RefusedError:
        raise
    except FetchError as error:
        if isinstance(error, CertificateError):
            place = f"{target.scheme}://{target.place}"
            values[CERTIFICATE] = refused_certificate_days(place, SCHEMES, deadline.rest(), now_ms)
        return values, sentence("%(error)s.", error=Inner(error.stored))
    values[UP] = 0.0 if complaint else 1.0
    return values, complaint


def _connected(target: Target, addresses: list[Address], options: Options, deadline: Deadline) -> TimedStream:
    stream = dial(addresses, target.port, deadline)
    if target.scheme != "tls":
        return stream
    return stream.start_tls(usual_tls() if options.verify else tls_context(verify=False), target.host)


def _banner_objection(stream: TimedStream, wanted: str) -> str:
    """Why the greeting is not the wanted one, as a stored sentence. Raises FetchError and OSError when none comes."""
    said = b""
    while wanted.encode() not in said and len(said) < MAX_BANNER:
        piece = stream.read(MAX_BANNER - len(said))
        if not piece:
            break
        said += piece
    if wanted.encode() in said:
        return ""
    shown = printable(said.decode("utf-8", errors="replace").strip(), 80)
    words = _t("The greeting is “%(said)s” and does not contain “%(wanted)s”.")
    return sentence(words, said=shown, wanted=printable(wanted, 80))
