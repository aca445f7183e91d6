"""Headers that no library sets, methods that no page takes, probes that touch nothing, errors that programs read."""

from __future__ import annotations

from contextlib import suppress

from csp.constants import SELF
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.deprecation import MiddlewareMixin

from portal.toolkit import deadline
from portal.toolkit.api import error, words_for
from portal.toolkit.live.apart import live_url

PROBES = frozenset({"/healthz", "/readyz"})
PAGE_METHODS = ("GET", "HEAD", "POST", "OPTIONS")
API = "/api/"
API_DEADLINE_S = 10.0
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()"
    for feature in (
        "accelerometer",
        "camera",
        "display-capture",
        "geolocation",
        "gyroscope",
        "magnetometer",
        "microphone",
        "midi",
        "payment",
        "usb",
    )
)


class ProbeMiddleware(MiddlewareMixin):
    """A probe has no session: with a browser's cookie `/healthz` would otherwise ask PostgreSQL who that is."""

    def process_request(self, request: HttpRequest) -> None:
        if request.path in PROBES:
            request.COOKIES = {}


class PermissionsPolicyMiddleware(MiddlewareMixin):
    """Pages of a monitoring portal need no camera, no position and no payment; nor does what somebody injects."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response


class LivePortMiddleware(MiddlewareMixin):
    """A page may connect to the portal itself, and to where it is told to find what is pushed."""

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if settings.LIVE_PORT and response.headers.get("Content-Type", "").startswith("text/html"):
            with suppress(DisallowedHost):
                place = live_url(request)
                response._csp_update = {"connect-src": [SELF, place, place.replace("http", "ws", 1)]}  # type: ignore[attr-defined]
        return response


class PageMethodsMiddleware(MiddlewareMixin):
    """Pages are read with GET and changed with POST. The admin takes any method for GET, and allauth PUT for POST."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if request.method in PAGE_METHODS or request.path.startswith(API):
            return None
        return HttpResponseNotAllowed(PAGE_METHODS)


class ApiMiddleware(MiddlewareMixin):
    """Under /api/: an end after ten seconds, HEAD as a GET without its body, and every error as JSON in words.

    What Django, another middleware or a view answers as a page is said again for programs; headers stay.
    """

    def process_request(self, request: HttpRequest) -> None:
        if not request.path.startswith(API):
            return
        deadline.set_deadline(API_DEADLINE_S)
        if request.method == "HEAD":
            request.method = "GET"
            request.META["api.head"] = True

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if not request.path.startswith(API):
            return response
        deadline.set_deadline(None)
        if response.status_code >= 400 and "json" not in response.headers.get("Content-Type", ""):
            response = _as_json(response)
        if request.META.get("api.head") and not response.streaming:
            response.headers["Content-Length"] = str(len(response.content))
            response.content = b""
        return response


def _as_json(page: HttpResponse) -> HttpResponse:
    kept = {name: value for name, value in page.headers.items() if name not in {"Content-Type", "Content-Length"}}
    response = error(page.status_code, words_for(page.status_code, page.headers.get("Allow", "")), kept)
    response.cookies = page.cookies
    return response
