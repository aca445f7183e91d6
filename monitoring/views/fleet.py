"""The fleet page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.middleware import HtmxDetails

from monitoring.access import audience_of
from monitoring.fleet_filter import FleetFilter
from monitoring.models import ServerKind, ServerState
from monitoring.queries.fleet import fleet_counts, fleet_page, fleet_totals, visible_groups
from monitoring.views.add import may_add


@never_cache
@require_safe
def fleet(request: HttpRequest) -> HttpResponse:
    """Totals and a page of servers; only the list with its filter when a script asks for it."""
    audience = audience_of(request.user)
    wanted = FleetFilter.read(request.GET)
    counts = fleet_counts(audience)
    context = {
        "page": fleet_page(audience, wanted, counts),
        "groups": visible_groups(audience),
        "states": ServerState.choices,
        "kinds": ServerKind.choices,
        "sorts": _sorts(),
        "can_add": may_add(request.user),
    }
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # django_htmx's middleware puts it there
    if htmx and not htmx.history_restore_request:
        response = render(request, "monitoring/_fleet.html", context)
        if htmx.current_url_abs_path != wanted.address():
            response.headers["HX-Push-Url"] = wanted.address()
    else:
        response = render(request, "monitoring/fleet.html", context | {"totals": fleet_totals(audience, counts)})
    patch_vary_headers(response, ["HX-Request", "HX-History-Restore-Request"])
    return response


def _sorts() -> list[tuple[str, str]]:
    return [
        ("worst", _("Worst first")),
        ("name", _("By name")),
        ("cpu", _("Most CPU first")),
        ("memory", _("Most memory first")),
    ]
