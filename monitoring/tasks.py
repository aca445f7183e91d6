"""What Celery beat wakes. A tick is only a hint: each task finds out from the database what is due."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from monitoring import hot, states
from monitoring.collectors import run
from monitoring.collectors.found import forget_gone
from monitoring.exports import writing
from monitoring.following.follow import follow_quietly
from monitoring.history.compact import compact_due
from monitoring.history.late import merge_late
from monitoring.history.retention import apply_retention
from monitoring.history.seal import seal_due
from monitoring.ingest import heartbeat, receipts
from monitoring.logs.merge import merge_due
from monitoring.logs.trim import forget_old_lines
from monitoring.simulation.fleet import simulate_due


@shared_task  # type: ignore[untyped-decorator]
def simulate_task() -> None:
    simulate_due(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def collect_task() -> None:
    run.collect_due(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def freshness_task() -> None:
    hot.rebuild_recent(timezone.now())
    states.sweep()


@shared_task  # type: ignore[untyped-decorator]
def follow_task() -> None:
    follow_quietly(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def jobs_task() -> None:
    heartbeat.record_jobs(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def retention_task() -> None:
    now = timezone.now()
    apply_retention(now)
    forget_gone(now)
    receipts.forget_old(now)


@shared_task  # type: ignore[untyped-decorator]
def seal_task() -> None:
    seal_due(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def merge_late_task() -> None:
    merge_late()


@shared_task  # type: ignore[untyped-decorator]
def compact_task() -> None:
    compact_due(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def merge_logs_task() -> None:
    merge_due(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def forget_logs_task() -> None:
    forget_old_lines(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def export_task() -> None:
    writing.write_due(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def forget_exports_task() -> None:
    writing.forget(timezone.now())
