"""The panel "why is this red?" on the page of a server."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from alerts.queries.why import why
from monitoring.access import server_for
from portal.toolkit.audit import person_of


@never_cache
@require_safe
def server_panel(request: HttpRequest, server_id: int) -> HttpResponse:
    """What is wrong with the server and which thresholds judge it; whoever may see the server may read it."""
    server, person = server_for(request.user, server_id), person_of(request)
    may_edit = person.is_staff and person.has_perm("alerts.change_threshold")
    return render(request, "alerts/_why.html", {"why": why(server, timezone.now(), may_edit=may_edit)})
