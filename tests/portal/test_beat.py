"""What beat does when the clock is set back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import time_machine
from django.conf import settings

from portal.beat import SteadyScheduler
from portal.celery import app

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Listed(SteadyScheduler):
    """Keeps the names of what it would send; there is no broker here."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.sent: list[str] = []
        super().__init__(*arguments, **options)

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        self.sent.append(entry.name)

    @property
    def producer(self) -> None:
        return None


def sent_by(beat: Listed, seconds: float, clock: time_machine.Traveller) -> set[str]:
    """The names of what `beat` sends in so many seconds."""
    beat.sent.clear()
    for _ in range(int(seconds * 10)):
        clock.shift(0.1)
        while beat.tick() == 0:
            pass
    return set(beat.sent)


def test_a_clock_set_back_by_an_hour_silences_no_tick(tmp_path: Path) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        beat = Listed(app, schedule_filename=str(tmp_path / "schedule"))
        before = sent_by(beat, 6, clock)
        assert {"evaluate", "deliver", "alert-sweep"} <= before
        clock.shift(timedelta(hours=-1))
        assert sent_by(beat, 6, clock) == before
        beat.close()


def test_beat_started_after_the_clock_was_set_back_is_not_silent(tmp_path: Path) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        beat = Listed(app, schedule_filename=str(tmp_path / "schedule"))
        before = sent_by(beat, 6, clock)
        beat.close()
        clock.shift(timedelta(hours=-1))
        again = Listed(app, schedule_filename=str(tmp_path / "schedule"))
        assert sent_by(again, 6, clock) == before
        again.close()


def test_a_clock_set_forward_by_an_hour_sends_each_tick_once_at_once(tmp_path: Path) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        beat = Listed(app, schedule_filename=str(tmp_path / "schedule"))
        sent_by(beat, 6, clock)
        clock.shift(timedelta(hours=1))
        sent_by(beat, 0.5, clock)
        assert sorted(beat.sent) == sorted(settings.CELERY_BEAT_SCHEDULE)
        beat.close()
