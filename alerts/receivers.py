"""What alerts does when monitoring tells it something."""

from __future__ import annotations

from django.dispatch import receiver

from alerts import tasks
from alerts.wake import wake
from monitoring.signals import samples_recorded


@receiver(samples_recorded)
def on_samples_recorded(**_signal: object) -> None:
    wake(tasks.evaluate_task)
