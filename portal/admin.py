"""The order of the admin's index: what is looked for most often comes first, not what comes first in the alphabet."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

ORDER = {
    "alerts": ["Threshold", "Rota", "Silence", "Incident", "Delivery", "Bounce"],
    "monitoring": [
        "Server",
        "ServerGroup",
        "Source",
        "PushToken",
        "Job",
        "FollowedLog",
        "Metric",
        "ServerTemplate",
        "Simulation",
    ],
}

_alphabetical = admin.site.get_app_list


def app_list(request: HttpRequest, app_label: str | None = None) -> list[Any]:
    """As Django's; models that ORDER does not know come last."""
    apps = _alphabetical(request, app_label)
    for app in apps:
        order = ORDER.get(app["app_label"], [])
        app["models"].sort(
            key=lambda model: order.index(model["object_name"]) if model["object_name"] in order else len(order)
        )
    return apps


admin.site.get_app_list = app_list  # type: ignore[method-assign]
