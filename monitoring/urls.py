"""The pages of monitoring."""

from __future__ import annotations

from django.urls import path

from monitoring.views.agent import agent, agent_sha256
from monitoring.views.fleet import fleet
from monitoring.views.server import samples, server

app_name = "monitoring"
urlpatterns = [
    path("", fleet, name="fleet"),
    path("agent.py", agent, name="agent"),
    path("agent.py.sha256", agent_sha256, name="agent_sha256"),
    path("servers/<int:server_id>/", server, name="server"),
    path("servers/<int:server_id>/samples/", samples, name="samples"),
]
