"""Celery beat's scheduler, for a clock that may be set back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from celery.beat import PersistentScheduler

SLACK = timedelta(seconds=1)


class SteadyScheduler(PersistentScheduler):  # type: ignore[misc]
    """Celery's own counts by the wall clock: set back by an hour, or started again after that, it is silent for one."""

    def tick(self, *arguments: Any, **options: Any) -> float:
        """Send what is due; seconds until it wants to be asked again."""
        self._forget_the_future()
        pause: float = super().tick(*arguments, **options)
        return pause

    def _forget_the_future(self) -> None:
        """What ran later than now is taken to have run now, and the order of what comes next is made again."""
        for entry in self.schedule.values():
            now = entry.default_now()
            if entry.last_run_at > now + SLACK:
                entry.last_run_at = now
                self._heap = None
