"""What of alerts changes on a screen. A pushed fragment is what the page would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.template.loader import render_to_string
from django.utils import timezone

from alerts.access import incidents_for, incidents_of
from alerts.queries.announce import board
from alerts.queries.incident import incident_states
from alerts.queries.list import list_cursor
from alerts.queries.updates import alert_updates, alerts_missed
from monitoring.access import audience_of
from portal.toolkit.live.topic import Data, Topic, register


class AlertsTopic(Topic):
    """The bell, the strip "nobody has this" and the newest announcements; the key is the audience.

    For programs the incidents themselves.
    """

    name = "alerts"
    event = "alert"

    def admit(self, user: AbstractBaseUser, key: str) -> str | None:
        return audience_of(user) if key == "" else None  # type: ignore[arg-type]

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        now = timezone.now()
        boards = {audience: board(incidents_of(audience), now) for audience in keys}
        return {key: render_to_string("alerts/_bell.html", {"board": one}) for key, one in boards.items()}

    def data(self, keys: Sequence[str]) -> Mapping[str, Data]:
        now = timezone.now()
        return {audience: alert_updates(audience, now) for audience in keys}

    def missed(self, key: str, after: int, ids: Sequence[str]) -> Sequence[Mapping[str, Any]]:
        return alerts_missed(key, after, ids)


class IncidentsTopic(Topic):
    """A stream: a word that changes with the list, which then fetches itself anew. The key is the audience."""

    name = "incidents"

    def admit(self, user: AbstractBaseUser, key: str) -> str | None:
        return audience_of(user) if key == "" else None  # type: ignore[arg-type]

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        now = timezone.now()
        cursors = {audience: list_cursor(audience, now) for audience in keys}
        return {key: render_to_string("alerts/_cursor.html", {"cursor": one}) for key, one in cursors.items()}


class IncidentTopic(Topic):
    """One incident, whole; the key is its id."""

    name = "incident"

    def admit(self, user: AbstractBaseUser, key: str) -> str | None:
        return self.admit_many(user, [key]).get(key)

    def admit_many(self, user: AbstractBaseUser, keys: Sequence[str]) -> dict[str, str]:
        """One query for all keys."""
        asked = {int(key): key for key in keys if key.isascii() and key.isdecimal() and len(key) < 18}
        visible = incidents_for(user).filter(pk__in=asked).order_by().values_list("pk", flat=True)  # type: ignore[arg-type]
        return {asked[pk]: str(pk) for pk in visible}

    def render(self, keys: Sequence[str], language: str) -> dict[str, str]:
        states = incident_states([int(key) for key in keys], timezone.now())
        return {str(pk): render_to_string("alerts/_incident.html", {"incident": one}) for pk, one in states.items()}


register(AlertsTopic())
register(IncidentsTopic())
register(IncidentTopic())
