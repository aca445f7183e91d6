"""What every page's template may use besides its own context."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from alerts.queries.announce import board_for, operates
from portal.toolkit.live.apart import live_url

THEMES = ("system", "light", "dark")
DENSITIES = ("compact", "roomy")


def portal(request: HttpRequest) -> dict[str, object]:
    """`theme` and `density` are the browser's, from its cookies: in the first byte of the page, so nothing flashes.

    `live_url`: where what is pushed comes from, "" for the portal itself.
    `board` and `operates` (alerts.queries.announce) cost queries only where a template shows them.
    """
    return {
        "LANGUAGES": settings.LANGUAGES,
        "theme": _one_of(THEMES, request.COOKIES.get("theme")),
        "density": _one_of(DENSITIES, request.COOKIES.get("density")),
        "live_url": SimpleLazyObject(lambda: live_url(request)),
        "board": SimpleLazyObject(lambda: board_for(request.user, timezone.now())),
        "operates": SimpleLazyObject(lambda: operates(request.user)),
    }


def _one_of(known: tuple[str, ...], said: str | None) -> str:
    return said if said in known else known[0]
