"""The API for programs: who may ask, how errors are said, and where its parts are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from ninja import NinjaAPI, Swagger
from ninja.errors import HttpError, ValidationError
from ninja.security import APIKeyCookie, HttpBearer

from monitoring.api import ROUTERS
from portal.accounts.models import User
from portal.system import redis_status
from portal.toolkit.api import ApiError, error, words_for
from portal.toolkit.breaker import CircuitOpenError
from portal.toolkit.deadline import TooSlowError

DESCRIPTION = """\
Read with GET, as JSON, by a signed-in person or by a program with a **read token** (`Authorization: Bearer …`, made in
the admin). Who asks sees the servers of their groups and no others.

Times are ISO 8601 in UTC. Units: shares in %, sizes in MB, network in KB/s, uptime in seconds. A number that is not
known is `null`. Errors are `{"error", "message", "timestamp"}`.
"""


class ReadTokenAuth(HttpBearer):
    """SignedInMiddleware has looked the token up: here it is named for the description."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        return request.user if isinstance(request.user, User) else None


class SessionAuth(APIKeyCookie):
    """A signed-in browser; what changes something needs its CSRF token too."""

    param_name = "sessionid"

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        return request.user if isinstance(request.user, User) else None


def _described(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The description is the same everywhere and tells nothing about this portal: programs read it without a token."""
    return login_not_required(require_safe(view))


api = NinjaAPI(
    title="OpenManager",
    version="1",
    description=DESCRIPTION,
    urls_namespace="api",
    auth=[ReadTokenAuth(), SessionAuth()],
    docs=Swagger(settings={"validatorUrl": None, "defaultModelsExpandDepth": 0}),
    docs_decorator=_described,
)
for _router in (*ROUTERS, redis_status.router):
    api.add_router("", _router)


def api_urls() -> tuple[list[Any], str, str]:
    """What `path` takes. The root of the API is an address of nothing, for every method that reads."""
    patterns, app_name, namespace = api.urls
    for pattern in patterns:
        if isinstance(pattern, URLPattern) and pattern.name == "api-root":
            pattern.callback = require_safe(pattern.callback)
    return patterns, app_name, namespace


# --- Errors -----------------------------------------------------------------------------------------------------------


@api.exception_handler(ApiError)
def _on_api_error(request: HttpRequest, said: ApiError) -> HttpResponse:
    return error(said.status, said.message, said.headers)


@api.exception_handler(HttpError)
def _on_http_error(request: HttpRequest, said: HttpError) -> HttpResponse:
    return error(said.status_code, words_for(said.status_code))


@api.exception_handler(Http404)
def _on_missing(request: HttpRequest, said: Http404) -> HttpResponse:
    return error(404, str(said) or words_for(404))


@api.exception_handler(PermissionDenied)
def _on_denied(request: HttpRequest, said: PermissionDenied) -> HttpResponse:
    return error(403, str(said) or words_for(403))


@api.exception_handler(TooSlowError)
def _on_too_slow(request: HttpRequest, said: TooSlowError) -> HttpResponse:
    return error(503, _("That took longer than ten seconds. Ask for less, or again in a moment."))


@api.exception_handler(CircuitOpenError)
def _on_resting(request: HttpRequest, said: CircuitOpenError) -> HttpResponse:
    return error(503, _("Reading has failed several times. It is tried again in a moment."))


@api.exception_handler(OperationalError)
def _on_database_away(request: HttpRequest, said: OperationalError) -> HttpResponse:
    """Away, or it was told to stop because the time is over."""
    if getattr(said.__cause__, "sqlstate", None) == QUERY_CANCELED:
        return _on_too_slow(request, TooSlowError())
    return error(503, words_for(503))


QUERY_CANCELED = "57014"


@api.exception_handler(ValidationError)
def _on_invalid(request: HttpRequest, said: ValidationError) -> HttpResponse:
    """The first mistake, named by its parameter, not by a place in its list."""
    first = said.errors[0]
    name = next(str(part) for part in reversed(first["loc"]) if isinstance(part, str))
    if first["type"] == "missing":
        return error(400, _("“%(name)s” is missing.") % {"name": name}, more={"parameter": name})
    return error(
        400, _("“%(name)s”: %(why)s.") % {"name": name, "why": first["msg"].rstrip(".")}, more={"parameter": name}
    )
