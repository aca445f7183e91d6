"""The thresholds that every portal starts with. Once: who deletes one has decided that it is gone."""

from __future__ import annotations

from typing import Any

from django.db import migrations
from django.utils import timezone
from django.utils.translation import gettext_noop

SHIPPED = gettext_noop("Shipped with OpenManager.")
METRICS: dict[str, dict[str, Any]] = {
    "cpu": {"label": "CPU", "unit": "%", "family": "system", "minimum": 0.0, "maximum": 100.0, "resolution": 0.1},
    "memory": {"label": "Memory", "unit": "%", "family": "system", "minimum": 0.0, "maximum": 100.0, "resolution": 0.1},
}
"""Made here when missing: on a fresh database the catalogue is written only after all migrations."""
# CPU speaks for the server itself: every server measures it, so one that falls silent is mailed once, and by it.
THRESHOLDS: dict[str, dict[str, Any]] = {
    "cpu": {"critical": 85.0, "for_s": 0, "no_data_after_s": 300, "no_data_level": "critical"},
    "memory": {"critical": 90.0, "for_s": 0},
}


def ship(apps: Any, schema_editor: Any) -> None:
    Metric = apps.get_model("monitoring", "Metric")
    Threshold = apps.get_model("alerts", "Threshold")
    History = apps.get_model("alerts", "HistoricalThreshold")
    for name, limits in THRESHOLDS.items():
        metric, _ = Metric.objects.get_or_create(name=name, defaults=METRICS[name])
        made = Threshold.objects.create(metric=metric, scope="all", direction="above", **limits)
        kept = {field.attname: getattr(made, field.attname) for field in Threshold._meta.concrete_fields}
        History.objects.create(**kept, history_date=timezone.now(), history_type="+", history_change_reason=SHIPPED)


def take_back(apps: Any, schema_editor: Any) -> None:
    """Those that shipped, changed or not; what an admin added stays."""
    History = apps.get_model("alerts", "HistoricalThreshold")
    shipped = History.objects.filter(history_type="+", history_change_reason=SHIPPED)
    apps.get_model("alerts", "Threshold").objects.filter(pk__in=shipped.values("id")).delete()
    shipped.delete()


class Migration(migrations.Migration):
    dependencies = [("alerts", "0001_first")]

    operations = [migrations.RunPython(ship, take_back)]
