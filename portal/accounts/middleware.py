"""Deny by default, and each person's own language and time zone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.views import redirect_to_login
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.middleware.locale import LocaleMiddleware
from django.shortcuts import resolve_url
from django.utils import timezone, translation
from django.utils.http import url_has_allowed_host_and_scheme

from portal.accounts import tokens
from portal.accounts.models import User
from portal.toolkit.api import error, words_for

API = "/api/"


class SignedInMiddleware(LoginRequiredMiddleware):
    """Every view needs a signed-in person unless it is marked with `login_not_required`.

    Under /api/ that may be a program with a read token. One that comes with a token is who the token says, or nobody,
    whatever its cookies say; what stays open asks `request.person_again()` who that is later.
    """

    def process_view(
        self, request: HttpRequest, view_func: Callable[..., Any], view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        if request.path.startswith(API) and (sent := tokens.sent_with(request)) is not None:
            address = request.META.get("REMOTE_ADDR", "")
            request.user = tokens.person_of(sent, address) or AnonymousUser()
            request.person_again = partial(tokens.person_again, sent, address)  # type: ignore[attr-defined]
        return super().process_view(request, view_func, view_args, view_kwargs)

    def handle_no_permission(  # type: ignore[override]
        self, request: HttpRequest, view_func: Callable[..., Any]
    ) -> HttpResponse:
        """A page goes to sign-in. A script is told so with 401: it would swap a sign-in page into a card."""
        if request.path.startswith(API):
            return error(401, words_for(401), {"WWW-Authenticate": 'Bearer realm="OpenManager"'})
        if not _asked_by_script(request):
            return super().handle_no_permission(request, view_func)
        sign_in = redirect_to_login(_page_of(request), resolve_url(settings.LOGIN_URL)).url
        return HttpResponse(status=401, headers={"HX-Redirect": sign_in})


def _asked_by_script(request: HttpRequest) -> bool:
    return "HX-Request" in request.headers or request.headers.get("Sec-Fetch-Dest") == "empty"


def _page_of(request: HttpRequest) -> str:
    """The path of the page that a script runs in, to come back to; the front page when it does not say or lies."""
    said = request.headers.get("HX-Current-URL") or request.headers.get("Referer", "")
    if not url_has_allowed_host_and_scheme(said, {request.get_host()}):
        return "/"
    parts = urlsplit(said)
    return parts.path + ("?" + parts.query if parts.query else "")


def _person(request: HttpRequest) -> User | None:
    """Who is signed in. Without a session cookie nobody is asked.

    Raises OperationalError when the database is away, and lets nobody who handles that wait for it once more.
    """
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        return None
    try:
        return request.user if request.user.is_authenticated else None
    except OperationalError:
        request.user = AnonymousUser()
        raise


class PersonLocaleMiddleware(LocaleMiddleware):
    """The language: the person's own, else the cookie's, else the browser's. The time zone: the person's own, else UTC.

    Needs the AuthenticationMiddleware before it.
    """

    def process_request(self, request: HttpRequest) -> None:
        super().process_request(request)
        timezone.deactivate()
        person = _person(request)
        if person and person.language:
            translation.activate(person.language)
            request.LANGUAGE_CODE = person.language
        if person and person.time_zone:
            timezone.activate(person.time_zone)
