"""The pages of monitoring."""

from __future__ import annotations

from django.urls import path

from monitoring.views.add import add, add_waiting
from monitoring.views.agent import agent, agent_sha256
from monitoring.views.exports import ask_history_export, ask_log_export, export
from monitoring.views.fleet import fleet
from monitoring.views.history import history
from monitoring.views.logs import logs, logs_choices, logs_histogram, logs_lines, logs_panel
from monitoring.views.server import samples, server

app_name = "monitoring"
urlpatterns = [
    path("", fleet, name="fleet"),
    path("agent.py", agent, name="agent"),
    path("agent.py.sha256", agent_sha256, name="agent_sha256"),
    path("servers/add/", add, name="add"),
    path("servers/add/<slug:kind>/<int:added_id>/", add_waiting, name="add_waiting"),
    path("servers/<int:server_id>/", server, name="server"),
    path("servers/<int:server_id>/samples/", samples, name="samples"),
    path("servers/<int:server_id>/history/", history, name="history"),
    path("servers/<int:server_id>/exports/", ask_history_export, name="ask_history_export"),
    path("logs/", logs, name="logs"),
    path("logs/lines/", logs_lines, name="logs_lines"),
    path("logs/histogram/", logs_histogram, name="logs_histogram"),
    path("logs/choices/", logs_choices, name="logs_choices"),
    path("logs/panel/", logs_panel, name="logs_panel"),
    path("logs/export/", ask_log_export, name="ask_log_export"),
    path("exports/<int:export_id>/", export, name="export"),
]
