"""Deny by default, and each person's own language and time zone."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.middleware.locale import LocaleMiddleware


class SignedInMiddleware(LoginRequiredMiddleware):
    """Every view needs a signed-in person unless it is marked with `login_not_required`."""


class PersonLocaleMiddleware(LocaleMiddleware):
    """The language: cookie, else the browser's."""


Handler = Callable[[HttpRequest], HttpResponseBase]
