"""An HTTP check: does a page answer, as expected, how fast, and for how long is its certificate still valid?

A check that fails is a run that worked: `check_up` is 0, and the complaint says why. Redirects are not followed: what
is checked is what the URL itself answers, and a status from 200 to 399 is a good one unless the options say otherwise.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop as _t

from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.certificates import CERTIFICATE, certificate_days, refused_certificate_days
from monitoring.collectors.credentials import parts_of
from monitoring.collectors.measures import Values, of_check, tidy
from monitoring.collectors.options import Needs, option, read_options, secret_of
from monitoring.collectors.web import authorization, check_url
from monitoring.history.frame import SeriesName
from monitoring.models import Source
from portal.toolkit.http import Fetched, Take, fetch
from portal.toolkit.printable import printable
from portal.toolkit.sentence import Inner, paragraph, sentence
from portal.toolkit.targets import WEB, FetchError, RefusedError
from portal.toolkit.wire import CertificateError, tls_context

MAX_BYTES = 1_000_000
"""Of the body: that much is searched, and no more is read."""
SECRET = "{secret}"  # noqa: S105  (a place in a header, not a secret)

UP, TIME, STATUS = SeriesName("check_up"), SeriesName("check_time"), SeriesName("check_status")

_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*([\x20-\x7e]{1,2000})")
_SECRET_HEADER = re.compile(r"authorization|cookie|.*(token|secret|password|api-?key|-key).*", re.IGNORECASE)
_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding", "user-agent"})
_RANGE = re.compile(r"([1-5][0-9]{2})(?:\s*-\s*([1-5][0-9]{2}))?")


def status_ranges(text: str) -> list[tuple[int, int]]:
    """The ranges that “200-399, 418” names, both ends included. Raises ValidationError."""
    ranges = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValidationError(_("Write statuses and ranges with commas between them, like 200-399, 418."))
        ranges.append((int(match[1]), int(match[2] or match[1])))
    return ranges


def header_lines(text: str) -> dict[str, str]:
    """The headers of `text`, one a line. Raises ValidationError, also for a secret that would be stored plainly."""
    headers: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = _HEADER.fullmatch(line)
        if match is None:
            raise ValidationError(_("Write each header on a line of its own, like Accept: text/html."))
        name, value = match.groups()
        if name.lower() in _OURS:
            raise ValidationError(_("The header %(name)s is set by the check itself.") % {"name": name})
        if _SECRET_HEADER.fullmatch(name) and SECRET not in value:
            raise ValidationError(
                _("Type the secret of %(name)s into the password field and write %(place)s where it belongs.")
                % {"name": name, "place": SECRET}
            )
        headers[name.title()] = value  # as we write them, so that none is sent twice
    return headers


@dataclass(frozen=True, slots=True)
class Options:
    name: str = option(
        _("Name of this check"), default="", help=_("Where a server has several; its values get it as a label.")
    )
    method: str = option(_("Method"), default="GET", choices=("GET", "HEAD"))
    statuses: str = option(
        _("Good statuses"),
        default="200-399",
        help=_("Statuses and ranges, like 200-299, 401. Redirects are not followed."),
        check=status_ranges,
    )
    contains: str = option(_("The page must contain"), default="", help=_("Looked for in the first megabyte."))
    lacks: str = option(_("The page must not contain"), default="")
    headers: str = option(
        _("Headers"),
        default="",
        lines=True,
        help=_("One a line. {secret} stands for the password or token; without it, it is sent as Authorization."),
        check=header_lines,
    )
    verify: bool = option(_("The certificate must be valid"), default=True)


NEEDS = Needs(
    check_url=check_url,
    says=_(
        "A page that must answer: https://example.org/health, "
        "or https://user@example.org/ with its password in its own field."
    ),
    secret=True,
    options=Options,
)


def collect(source: Source, now_ms: int) -> Collected:
    options = read_options(Options, source)
    headers = _headers(options, source)
    parts = parts_of(source.url)
    began = time.monotonic()
    try:
        answer = fetch(
            parts.bare,
            timeout_s=source.timeout_s,
            max_bytes=MAX_BYTES,
            headers=headers,
            tls=None if options.verify else tls_context(verify=False),
            method=cast(Literal["GET", "HEAD"], options.method),
            take=Take(redirects=True, beginnings=True),
        )
    except RefusedError as error:
        raise CollectError.of(error) from error
    except FetchError as error:
        return _failed(source, options, error, source.timeout_s - (time.monotonic() - began), now_ms)
    took_ms = 1000 * (time.monotonic() - began)
    complaint = paragraph(objections(answer, options))
    values = {UP: 0.0 if complaint else 1.0, TIME: took_ms, STATUS: float(answer.status)}
    return _collected(source, options, values, complaint, certificate_days(answer.certificate, now_ms))


def _headers(options: Options, source: Source) -> dict[str, str]:
    secret, user = secret_of(source), parts_of(source.url).user_name
    if not (secret.isascii() and secret.isprintable()) and not user:
        raise CollectError(_t("its token holds characters that no header can carry"))
    headers = header_lines(options.headers)
    if any(SECRET in value for value in headers.values()):
        return {name: value.replace(SECRET, secret) for name, value in headers.items()}
    return {**authorization(user, secret), **headers}


def objections(answer: Fetched, options: Options) -> Iterator[str]:
    """What about `answer` is not as expected, as stored sentences."""
    if not any(first <= answer.status <= last for first, last in status_ranges(options.statuses)):
        yield sentence(_t("The status is %(status)s."), status=str(answer.status))
    if answer.ending == "cut":
        yield _t("The answer was cut off.")
    if options.method == "HEAD":
        return
    text = answer.body.decode("utf-8", errors="replace")
    if options.contains and options.contains not in text:
        yield sentence(_t("The page does not contain “%(text)s”."), text=printable(options.contains, 80))
    if options.lacks and options.lacks in text:
        yield sentence(_t("The page contains “%(text)s”."), text=printable(options.lacks, 80))


def _failed(source: Source, options: Options, error: FetchError, left_s: float, now_ms: int) -> Collected:
    url, days = parts_of(source.url).bare, math.nan
    if isinstance(error, CertificateError):
        days = refused_certificate_days(url, WEB, left_s, now_ms)
    complaint = sentence("%(error)s.", error=Inner(error.stored))
    return _collected(source, options, {UP: 0.0, TIME: math.nan, STATUS: math.nan}, complaint, days)


def _collected(source: Source, options: Options, values: Values, complaint: str, days: float) -> Collected:
    if source.url.lower().startswith("https:"):
        values[CERTIFICATE] = days
    known = sum(not math.isnan(value) for value in values.values())
    return Collected(of_check(tidy(values), options.name), known, complaint)
