"""The pages of monitoring."""

from __future__ import annotations

from django.urls import path

from monitoring.views.fleet import fleet

app_name = "monitoring"
urlpatterns = [
    path("", fleet, name="fleet"),
]
