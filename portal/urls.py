"""Every URL of the portal."""

from __future__ import annotations

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from portal import views
from portal.api import api_urls
from portal.system.views import system

# The admin's own sign-in knows neither the second factor nor the rate limits.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("admin/", admin.site.urls),
    path("api/", api_urls()),
    path("system/", system, name="system"),
    path("accounts/", include("portal.accounts.urls")),
    path("accounts/", include("allauth.urls")),
    path("alerts/", include("alerts.urls")),
    path("", include("monitoring.urls")),
]

handler500 = "portal.views.server_error"
