"""The metrics that OpenManager knows by name: unit, range, resolution and the order in which they are shown.

Written into the `Metric` table after each migrate (`monitoring.apps`). Names are stable: they are in the API, in
thresholds and in history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_noop as _


@dataclass(frozen=True, slots=True)
class CatalogueMetric:
    """`label` is the English source text of a translation. `resolution` is the last digit worth keeping."""

    name: str
    label: str
    unit: str
    family: str
    resolution: float
    minimum: float | None = 0.0
    maximum: float | None = None


def _family(family: str, *rows: tuple[Any, ...]) -> list[CatalogueMetric]:
    return [CatalogueMetric(name, label, unit, family, *rest) for name, label, unit, *rest in rows]


CATALOGUE: list[CatalogueMetric] = [
    *_family(
        "system",
        ("cpu", _("CPU"), "%", 0.1, 0.0, 100.0),
        ("memory", _("Memory"), "%", 0.1, 0.0, 100.0),
        ("disk", _("Disk"), "%", 0.1, 0.0, 100.0),
        ("net_rx", _("Network in"), "KB/s", 0.1),
        ("net_tx", _("Network out"), "KB/s", 0.1),
        ("load1", _("Load, 1 min"), "", 0.01),
        ("load5", _("Load, 5 min"), "", 0.01),
        ("load15", _("Load, 15 min"), "", 0.01),
        ("cpu_core", _("CPU per core"), "%", 0.1, 0.0, 100.0),
        ("swap", _("Swap"), "%", 0.1, 0.0, 100.0),
        ("disk_read", _("Disk read"), "KB/s", 0.1),
        ("disk_write", _("Disk write"), "KB/s", 0.1),
        ("disk_used_share", _("Disk by mount"), "%", 0.1, 0.0, 100.0),
        ("connections", _("Connections"), "", 1.0),
        ("processes", _("Processes"), "", 1.0),
        ("uptime", _("Uptime"), "s", 1.0),
        ("cpu_cores", _("CPU cores"), "", 1.0),
        ("memory_total", _("Memory, total"), "MB", 1.0),
        ("memory_used", _("Memory, used"), "MB", 1.0),
        ("disk_total", _("Disk, total"), "MB", 1.0),
        ("disk_used", _("Disk, used"), "MB", 1.0),
    ),
    *_family(
        "application",
        ("response_p50", _("Response time, p50"), "ms", 0.1),
        ("response_p95", _("Response time, p95"), "ms", 0.1),
        ("throughput", _("Throughput"), "req/s", 0.1),
        ("error_rate", _("Error rate"), "%", 0.01, 0.0, 100.0),
        ("active_users", _("Concurrent users"), "", 1.0),
    ),
    *_family(
        "database",
        ("db_connections", _("Database connections"), "", 1.0),
        ("query_time", _("Query time"), "ms", 0.1),
        ("db_cache_hit", _("Database cache hit ratio"), "%", 0.1, 0.0, 100.0),
        ("db_locks", _("Locks waited for"), "", 1.0),
        ("replication_lag", _("Replication lag"), "s", 0.1),
        ("db_transactions", _("Transactions"), "1/s", 0.1),
        ("db_rollbacks", _("Rollbacks"), "1/s", 0.1),
        ("db_slow_queries", _("Slow queries"), "1/s", 0.01),
        ("db_longest", _("Longest transaction"), "s", 0.1),
        ("db_deadlocks", _("Deadlocks"), "1/s", 0.01),
        ("db_size", _("Database size"), "MB", 0.1),
        ("db_connections_share", _("Database connections used"), "%", 0.1, 0.0, 100.0),
    ),
    *_family(
        "cache",
        ("cache_hit", _("Cache hit ratio"), "%", 0.1, 0.0, 100.0),
        ("cache_ops", _("Cache operations"), "op/s", 1.0),
        ("evictions", _("Evictions"), "1/s", 0.1),
        ("cache_memory", _("Cache memory"), "MB", 0.1),
        ("cache_memory_share", _("Cache memory used"), "%", 0.1, 0.0, 100.0),
        ("cache_clients", _("Cache clients"), "", 1.0),
        ("cache_keys", _("Cache keys"), "", 1.0),
        ("cache_latency", _("Cache latency"), "ms", 0.01),
    ),
    *_family(
        "queue",
        ("queue_depth", _("Queue depth"), "", 1.0),
        ("queue_age", _("Oldest message"), "s", 0.1),
        ("queue_rate", _("Messages"), "1/s", 0.1),
    ),
    *_family(
        "check",
        ("check_up", _("Check passed"), "", 1.0, 0.0, 1.0),
        ("check_time", _("Check time"), "ms", 0.1),
        ("check_status", _("Check status"), "", 1.0),
        ("certificate_days", _("Certificate valid for"), "d", 0.1, None),
        ("job_overdue", _("Job overdue"), "s", 1.0),
        ("job_failed", _("Job failed"), "", 1.0, 0.0, 1.0),
        ("job_duration", _("Job duration"), "s", 0.1),
    ),
    *_family(
        "container",
        ("restarts", _("Restarts"), "", 1.0),
        ("cpu_limit_share", _("CPU of its limit"), "%", 0.1),
        ("memory_limit_share", _("Memory of its limit"), "%", 0.1),
        ("cpu_request_share", _("CPU of its request"), "%", 0.1),
        ("memory_request_share", _("Memory of its request"), "%", 0.1),
        ("containers", _("Containers"), "", 1.0),
        ("machines", _("Machines"), "", 1.0),
        ("pods", _("Pods"), "", 1.0),
        ("pods_pending", _("Pods pending"), "", 1.0),
        ("pods_failed", _("Pods failed"), "", 1.0),
        ("nodes_ready", _("Nodes ready"), "", 1.0),
        ("nodes_not_ready", _("Nodes not ready"), "", 1.0),
    ),
    *_family(
        "business",
        ("orders", _("Orders"), "1/min", 0.1),
        ("signups", _("Sign-ups"), "1/min", 0.1),
        ("revenue", _("Revenue"), "1/min", 0.01),
        ("conversion", _("Conversion"), "%", 0.01, 0.0, 100.0),
    ),
]

BY_NAME: dict[str, CatalogueMetric] = {metric.name: metric for metric in CATALOGUE}


def sync_catalogue(**_signal: object) -> None:
    """Write the catalogue into the `Metric` table; repeatable, and metrics outside the catalogue stay as they are."""
    from monitoring.models import Metric

    Metric.objects.bulk_create(
        [
            Metric(
                name=metric.name,
                label=metric.label,
                unit=metric.unit,
                family=metric.family,
                minimum=metric.minimum,
                maximum=metric.maximum,
                resolution=metric.resolution,
                position=position,
            )
            for position, metric in enumerate(CATALOGUE)
        ],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["label", "unit", "family", "minimum", "maximum", "resolution", "position"],
    )
