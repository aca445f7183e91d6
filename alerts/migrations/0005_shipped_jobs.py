"""The thresholds of jobs that every portal starts with; once, as those of 0002.

A job's period and grace already say how late it may be, so being overdue at all is told at once, and a failed run is.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.db import migrations
from django.utils import timezone

_first = import_module("alerts.migrations.0002_shipped_thresholds")

METRICS: dict[str, dict[str, Any]] = {
    "job_overdue": {"label": "Job overdue", "unit": "s", "family": "check", "minimum": 0.0, "resolution": 1.0},
    "job_failed": {"label": "Job failed", "family": "check", "minimum": 0.0, "maximum": 1.0, "resolution": 1.0},
}
LIMITS: dict[str, Any] = {"direction": "above", "critical": 0.0, "for_s": 0}


def ship(apps: Any, schema_editor: Any) -> None:
    Metric = apps.get_model("monitoring", "Metric")
    Threshold = apps.get_model("alerts", "Threshold")
    History = apps.get_model("alerts", "HistoricalThreshold")
    for name, fields in METRICS.items():
        metric, _ = Metric.objects.get_or_create(name=name, defaults=fields)
        made = Threshold.objects.create(metric=metric, scope="all", **LIMITS)
        kept = {field.attname: getattr(made, field.attname) for field in Threshold._meta.concrete_fields}
        reason = _first.SHIPPED
        History.objects.create(**kept, history_date=timezone.now(), history_type="+", history_change_reason=reason)


def take_back(apps: Any, schema_editor: Any) -> None:
    """Those that shipped here, changed or not; what an admin added stays."""
    History = apps.get_model("alerts", "HistoricalThreshold")
    shipped = History.objects.filter(history_type="+", history_change_reason=_first.SHIPPED, metric__name__in=METRICS)
    apps.get_model("alerts", "Threshold").objects.filter(pk__in=shipped.values("id")).delete()
    shipped.delete()


class Migration(migrations.Migration):
    dependencies = [("alerts", "0004_shipped_finders")]

    operations = [migrations.RunPython(ship, take_back)]
