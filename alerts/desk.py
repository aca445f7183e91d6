"""Where the decisions of one call are collected: mails for the outbox, entries for the time line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.utils.translation import gettext_noop as _

from alerts.models import Delivery, DeliveryKind, DeliveryStatus, Entry, Incident, Level, Problem, What
from alerts.oncall import OnCall
from alerts.timeline import note, write
from alerts.wake import wake

KIND_WORDS = {
    DeliveryKind.FIRED: _("It broke"),
    DeliveryKind.RAISED: _("It got worse"),
    DeliveryKind.REMINDER: _("Nobody has it any more"),
    DeliveryKind.RECOVERED: _("It recovered"),
}
RANK = {level: rank for rank, level in enumerate(Level)}
"""How bad a level is: 0 is the worst."""


class Desk:
    """Knows what each person was sent about some incidents before, and adds to it.

    A person is the middle part of a delivery's key, their id as text: that stays when their account is gone.
    One query when it opens, for all mails about the incidents, and two when it closes.
    """

    def __init__(self, now: datetime, incident_ids: Iterable[int]) -> None:
        self.now = now
        self._entries: list[Entry] = []
        self._queued: list[Delivery] = []
        self._sent: dict[int, list[Delivery]] = {}
        for row in Delivery.objects.filter(incident_id__in=list(incident_ids)).order_by("created_at", "pk"):
            self._sent.setdefault(row.incident_id, []).append(row)

    def sent(self, incident: Incident) -> list[Delivery]:
        """All mails about it, oldest first, those queued here included."""
        return self._sent.setdefault(incident.pk, [])

    def tried(self, incident: Incident) -> dict[str, int]:
        """For each person the rank of the worst level that they were mailed, whether or not it arrived."""
        best: dict[str, int] = {}
        for row in self.sent(incident):
            if row.kind != DeliveryKind.RECOVERED:
                person, rank = person_of(row), RANK[Level(row.level)]
                best[person] = min(best.get(person, rank), rank)
        return best

    def told(self, incident: Incident) -> dict[str, Delivery]:
        """For each person who was, or will be, told that it broke, the newest such mail that is not dead."""
        return {
            person_of(row): row
            for row in self.sent(incident)
            if row.kind != DeliveryKind.RECOVERED and row.status != DeliveryStatus.DEAD
        }

    def say(
        self,
        incident: Incident,
        what: What,
        *,
        about: AbstractUser | None = None,
        problem: Problem | None = None,
        level: Level | str = "",
        text: str = "",
    ) -> None:
        self._entries.append(note(incident, what, self.now, about=about, problem=problem, level=level, text=text))

    def say_of(self, row: Delivery, what: What, *, problem: Problem | None = None, level: str = "", text: str) -> None:
        """An entry about the person to whom `row` goes, whose account may be gone."""
        entry = note(
            row.incident,
            what,
            self.now,
            about_name=row.person_name,
            problem=problem,
            level=level or row.level,
            text=text,
        )
        entry.about_id = row.person_id
        self._entries.append(entry)

    def queue(self, incident: Incident, kind: DeliveryKind, level: Level, one: OnCall) -> None:
        person = str(one.person.pk)
        row = self._row(incident, kind, level, person)
        row.person_id, row.person_name, row.address = one.person.pk, one.name, one.address
        row.language, row.time_zone = one.language, one.time_zone
        self._add(row)

    def queue_recovery(self, incident: Incident, told: Delivery) -> None:
        """To the address that was told, in the same language, whatever has become of the person."""
        row = self._row(incident, DeliveryKind.RECOVERED, Level(incident.peak_level), person_of(told))
        row.person_id, row.person_name, row.address = told.person_id, told.person_name, told.address
        row.language, row.time_zone = told.language, told.time_zone
        self._add(row)

    def close(self) -> list[Delivery]:
        """Save it all; the mails that were queued."""
        # A key that is there already is a decision that was taken before, never a reason to fail.
        Delivery.objects.bulk_create(self._queued, batch_size=1000, ignore_conflicts=True)
        write(self._entries)
        if self._queued:
            wake_the_drainer()
        return self._queued

    def _row(self, incident: Incident, kind: DeliveryKind, level: Level, person: str) -> Delivery:
        key = f"{incident.pk}-{person}-{kind.value}-{level.value}"
        if kind == DeliveryKind.REMINDER:
            earlier = sum(row.kind == kind and person_of(row) == person for row in self.sent(incident))
            key = f"{key}-{earlier + 1}"
        return Delivery(
            incident=incident, kind=kind, level=level, key=key, created_at=self.now, next_attempt_at=self.now
        )

    def _add(self, row: Delivery) -> None:
        self._queued.append(row)
        self.sent(row.incident).append(row)
        self.say_of(row, What.QUEUED, text=KIND_WORDS[DeliveryKind(row.kind)])


def person_of(row: Delivery) -> str:
    return row.key.split("-")[1]


def wake_the_drainer() -> None:
    from alerts.tasks import deliver_task  # (the tasks know everything that is here)

    wake(deliver_task)
