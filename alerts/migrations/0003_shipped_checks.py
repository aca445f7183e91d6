"""The thresholds of checks, databases and caches that every portal starts with; once, as those of 0002.

A check that fails is shown at once and told when it has failed for half a minute: one lost packet is no outage, and a
page that is down is still down at its next check. A certificate is told of in time to renew it, and again when it is
urgent. A cache with an eviction policy may be full by design: that is a warning, for whoever did not mean it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.db import migrations
from django.utils import timezone

_first = import_module("alerts.migrations.0002_shipped_thresholds")

METRICS: dict[str, dict[str, Any]] = {
    "check_up": {"label": "Check passed", "family": "check", "minimum": 0.0, "maximum": 1.0, "resolution": 1.0},
    "certificate_days": {
        "label": "Certificate valid for",
        "unit": "d",
        "family": "check",
        "minimum": None,
        "resolution": 0.1,
    },
    "db_connections_share": {
        "label": "Database connections used",
        "unit": "%",
        "family": "database",
        "minimum": 0.0,
        "maximum": 100.0,
        "resolution": 0.1,
    },
    "cache_memory_share": {
        "label": "Cache memory used",
        "unit": "%",
        "family": "cache",
        "minimum": 0.0,
        "maximum": 100.0,
        "resolution": 0.1,
    },
}
THRESHOLDS: dict[str, dict[str, Any]] = {
    "check_up": {"direction": "below", "critical": 1.0, "for_s": 30},
    "certificate_days": {"direction": "below", "warning": 14.0, "critical": 3.0, "for_s": 0},
    "db_connections_share": {"direction": "above", "warning": 90.0, "for_s": 0},
    "cache_memory_share": {"direction": "above", "warning": 95.0, "for_s": 0},
}


def ship(apps: Any, schema_editor: Any) -> None:
    Metric = apps.get_model("monitoring", "Metric")
    Threshold = apps.get_model("alerts", "Threshold")
    History = apps.get_model("alerts", "HistoricalThreshold")
    for name, limits in THRESHOLDS.items():
        metric, _ = Metric.objects.get_or_create(name=name, defaults=METRICS[name])
        made = Threshold.objects.create(metric=metric, scope="all", **limits)
        kept = {field.attname: getattr(made, field.attname) for field in Threshold._meta.concrete_fields}
        reason = _first.SHIPPED
        History.objects.create(**kept, history_date=timezone.now(), history_type="+", history_change_reason=reason)


def take_back(apps: Any, schema_editor: Any) -> None:
    """Those that shipped here, changed or not; what an admin added stays."""
    History = apps.get_model("alerts", "HistoricalThreshold")
    names = list(THRESHOLDS)
    shipped = History.objects.filter(history_type="+", history_change_reason=_first.SHIPPED, metric__name__in=names)
    apps.get_model("alerts", "Threshold").objects.filter(pk__in=shipped.values("id")).delete()
    shipped.delete()


class Migration(migrations.Migration):
    dependencies = [("alerts", "0002_shipped_thresholds")]

    operations = [migrations.RunPython(ship, take_back)]
