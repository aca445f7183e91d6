"""The switch of the simulation."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from monitoring.models import Simulation
from portal.toolkit.audit import AuditedAdmin


@admin.register(Simulation)
class SimulationAdmin(AuditedAdmin):
    """One switch: the list goes straight to it."""

    fields = ("paused", "generated_until")
    readonly_fields = ("generated_until",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Simulation | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        only = Simulation.objects.filter(pk=1).first()
        if only is None or not self.has_view_or_change_permission(request, only):
            response: HttpResponse = super().changelist_view(request, extra_context)
            return response
        return redirect("admin:monitoring_simulation_change", only.pk)
