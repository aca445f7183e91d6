"""The pages of alerts."""

from __future__ import annotations

from django.urls import path

from alerts.views.actions import acknowledge, comment, release, silence, unsilence
from alerts.views.incidents import chart, incident, incident_list
from alerts.views.why import server_panel

app_name = "alerts"
urlpatterns = [
    path("", incident_list, name="list"),
    path("<int:incident_id>/", incident, name="incident"),
    path("<int:incident_id>/chart/", chart, name="chart"),
    path("<int:incident_id>/acknowledge/", acknowledge, name="acknowledge"),
    path("<int:incident_id>/release/", release, name="release"),
    path("<int:incident_id>/comment/", comment, name="comment"),
    path("<int:incident_id>/silence/", silence, name="silence"),
    path("<int:incident_id>/unsilence/", unsilence, name="unsilence"),
    path("servers/<int:server_id>/", server_panel, name="server_panel"),
]
