"""The catalogue of metrics, to look things up."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from monitoring.models import Metric


@admin.register(Metric)
class MetricAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """To look things up: the catalogue is code, and other metrics come by being recorded."""

    list_display = ("name", "translated_label", "unit", "family", "minimum", "maximum", "resolution")
    list_filter = ("family",)
    search_fields = ("name", "label")
    show_full_result_count = False

    @admin.display(description=_("label"), ordering="label")
    def translated_label(self, metric: Metric) -> str:
        return _t(metric.label) if metric.label else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Metric | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Metric | None = None) -> bool:
        return False
