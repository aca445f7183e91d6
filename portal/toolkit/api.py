"""What every answer of the API has in common: errors as JSON in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from django.http import HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from portal.toolkit.instants import iso

CODES = {
    400: "bad_request",
    401: "not_signed_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    415: "unsupported_type",
    429: "too_many_requests",
    503: "unavailable",
}
RETRY_AFTER_S = 5


class ApiError(Exception):
    """An answer that is not what was asked for, in words for the person who reads it."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def error(
    status: int, message: str, headers: Mapping[str, str] | None = None, more: Mapping[str, Any] | None = None
) -> HttpResponse:
    """`{"error", "message", "timestamp"}` and what else belongs to it; nobody may keep it."""
    body = {"error": CODES.get(status, "error"), "message": message, "timestamp": iso(timezone.now()), **(more or {})}
    response = HttpResponse(orjson.dumps(body), status=status, content_type="application/json", headers=headers)
    response.headers["Cache-Control"] = "no-cache"
    if status == 503:
        response.headers.setdefault("Retry-After", str(RETRY_AFTER_S))
    return response


def words_for(status: int, allow: str = "") -> str:
    """What an error means when nothing more particular is known."""
    words = {
        401: _("Sign in, or send a read token: “Authorization: Bearer …”."),
        403: _("That is not yours to do."),
        404: _("There is nothing at this address."),
        405: _("This address takes %(methods)s only.") % {"methods": allow},
        413: _("That is too large."),
        503: _("The database does not answer. Try again in a moment."),
    }
    if status in words:
        return words[status]
    if status >= 500:
        return _("Something broke here. It is in the log of the portal.")
    return _("The request cannot be understood.")
