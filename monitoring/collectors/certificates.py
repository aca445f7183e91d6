"""For how long a certificate is still valid, also one that is not trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from monitoring.history.frame import SeriesName
from portal.toolkit.targets import Deadline, FetchError, parse_target, permitted_addresses, resolve_name
from portal.toolkit.wire import days_left, shown_certificate

CERTIFICATE = SeriesName("certificate_days")


def certificate_days(certificate: bytes, now_ms: int) -> float:
    """Days from `now_ms`, negative since it (DER) expired; NaN when there is none or it cannot be read."""
    try:
        return days_left(certificate, datetime.fromtimestamp(now_ms / 1000, UTC)) if certificate else math.nan
    except ValueError:
        return math.nan


def refused_certificate_days(url: str, schemes: Sequence[str], left_s: float, now_ms: int) -> float:
    """The same of the certificate that `url` shows though it was refused: asked for once more, within `left_s`."""
    if left_s <= 0:
        return math.nan
    deadline = Deadline(left_s)
    try:
        target = parse_target(url, schemes)
        shown = shown_certificate(target, permitted_addresses(target, resolve_name, deadline), deadline)
    except FetchError:
        return math.nan
    return certificate_days(shown, now_ms)
