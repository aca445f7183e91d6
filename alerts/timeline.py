"""The time line of an incident: one door for everything that is written on it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.db import transaction

from alerts.models import Entry, Incident, Level, Problem, What
from portal.toolkit.live.touch import touch

LONGEST_NAME = 200


def note(
    incident: Incident,
    what: What,
    at: datetime,
    *,
    by: AbstractUser | None = None,
    about: AbstractUser | None = None,
    about_name: str = "",
    problem: Problem | None = None,
    level: Level | str = "",
    text: str = "",
) -> Entry:
    """An entry, not yet saved: collect them and `write` once. `text` is a stored sentence, of a comment plain text."""
    return Entry(  # type: ignore[misc]  # (the stubs want the custom model, which is a floor above)
        incident=incident,
        what=what,
        at=at,
        by=by,
        by_name=name_of(by) if by else "",
        about=about,
        about_name=about_name or (name_of(about) if about else ""),
        problem=problem,
        level=level,
        text=text,
    )


def write(entries: list[Entry]) -> None:
    """Save entries in their order; one query."""
    Entry.objects.bulk_create(entries, batch_size=1000)


def announce(incident_ids: Collection[int]) -> None:
    """After the commit, say to the pages that these incidents changed."""
    if incident_ids:
        ids = sorted(set(incident_ids))
        transaction.on_commit(lambda: touch({"alerts": None, "incidents": None, "incident": ids}))


def name_of(person: AbstractUser) -> str:
    """As it is kept beside entries and mails, whose columns hold less than an account may."""
    name = person.get_full_name() or person.get_username()
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
