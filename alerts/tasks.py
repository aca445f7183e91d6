"""What Celery beat and wake-ups ask for. Each task finds out from the database what is due."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from alerts import wake
from alerts.audit import audit
from alerts.delivery.outbox import drain
from alerts.forget import forget_old
from alerts.rules.run import evaluate_due, sweep


@shared_task  # type: ignore[untyped-decorator]
def evaluate_task() -> None:
    wake.taken(evaluate_task)
    evaluate_due(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def sweep_task() -> None:
    sweep(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def deliver_task() -> None:
    wake.taken(deliver_task)
    drain(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def audit_task() -> None:
    audit(timezone.now())


@shared_task  # type: ignore[untyped-decorator]
def forget_task() -> None:
    forget_old(timezone.now())
