"""The catalogue of metrics, to look things up."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from monitoring.models import Metric
from portal.toolkit.read_only_admin import ReadOnlyAdmin


@admin.register(Metric)
class MetricAdmin(ReadOnlyAdmin):
    """To look things up: the catalogue is code, and other metrics come by being recorded."""

    list_display = ("name", "translated_label", "unit", "family", "minimum", "maximum", "resolution")
    list_filter = ("family",)
    search_fields = ("name", "label")

    @admin.display(description=_("label"), ordering="label")
    def translated_label(self, metric: Metric) -> str:
        return _t(metric.label) if metric.label else ""
