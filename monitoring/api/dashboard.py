"""Every server at a glance, in one answer."""

from __future__ import annotations

import orjson
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router

from monitoring import hot
from monitoring.access import audience_of, servers_of
from portal.toolkit.instants import iso

router = Router(tags=["Servers"])


@router.get("/dashboard", summary="Every server at a glance")
def dashboard(request: HttpRequest) -> HttpResponse:
    rows = list(servers_of(audience_of(request.user)).order_by().values_list("pk", "name", "state", "simulated"))
    hot.headlines([row[0] for row in rows])
    return HttpResponse(
        orjson.dumps({"servers": [], "total": len(rows), "timestamp": iso(timezone.now())}),
        content_type="application/json",
    )
