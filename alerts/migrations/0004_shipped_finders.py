"""The thresholds of what finds other servers: an engine, a cluster, a cloud that cannot be asked any more; once.

While it cannot be, what it found is not watched. So somebody has to be told, and it is by the source's own server.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.db import migrations
from django.utils import timezone

_first = import_module("alerts.migrations.0002_shipped_thresholds")

# Each of them is said by every source of its kind, and by nothing that is found.
METRICS = {"containers": "Containers", "pods_pending": "Pods pending", "machines": "Machines"}
SILENCE: dict[str, Any] = {"direction": "below", "for_s": 0, "no_data_after_s": 300, "no_data_level": "critical"}


def ship(apps: Any, schema_editor: Any) -> None:
    Metric = apps.get_model("monitoring", "Metric")
    Threshold = apps.get_model("alerts", "Threshold")
    History = apps.get_model("alerts", "HistoricalThreshold")
    for name, label in METRICS.items():
        metric, _ = Metric.objects.get_or_create(
            name=name, defaults={"label": label, "family": "container", "minimum": 0.0, "resolution": 1.0}
        )
        made = Threshold.objects.create(metric=metric, scope="all", **SILENCE)
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
    dependencies = [("alerts", "0003_shipped_checks")]

    operations = [migrations.RunPython(ship, take_back)]
