"""The pages of monitoring."""

from __future__ import annotations

from django.urls import path

from monitoring.views.fleet import fleet
from monitoring.views.server import samples, server

app_name = "monitoring"
urlpatterns = [
    path("", fleet, name="fleet"),
    path("servers/<int:server_id>/", server, name="server"),
    path("servers/<int:server_id>/samples/", samples, name="samples"),
]
