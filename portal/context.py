"""What every page's template may use besides its own context."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

THEMES = ("system", "light", "dark")
DENSITIES = ("compact", "roomy")


def portal(request: HttpRequest) -> dict[str, object]:
    """`theme` and `density` are the browser's, from its cookies: in the first byte of the page, so nothing flashes."""
    return {
        "LANGUAGES": settings.LANGUAGES,
        "theme": _one_of(THEMES, request.COOKIES.get("theme")),
        "density": _one_of(DENSITIES, request.COOKIES.get("density")),
    }


def _one_of(known: tuple[str, ...], said: str | None) -> str:
    return said if said in known else known[0]
