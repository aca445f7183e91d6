"""What every page's template may use besides its own context."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def portal(request: HttpRequest) -> dict[str, object]:
    return {"LANGUAGES": settings.LANGUAGES}
