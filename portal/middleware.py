"""Headers that no library sets, methods that no page takes, and probes that touch nothing."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.deprecation import MiddlewareMixin

PROBES = frozenset({"/healthz", "/readyz"})
PAGE_METHODS = ("GET", "HEAD", "POST", "OPTIONS")
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


class PageMethodsMiddleware(MiddlewareMixin):
    """Pages are read with GET and changed with POST. The admin takes any method for GET, and allauth PUT for POST."""

    def process_request(self, request: HttpRequest) -> HttpResponse | None:
        if request.method in PAGE_METHODS or request.path.startswith("/api/"):
            return None
        return HttpResponseNotAllowed(PAGE_METHODS)
