"""Who opens a socket, and what they may watch: asked of the database for many at once."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from portal.toolkit.live.admission import admit, person_of
from portal.toolkit.live.limits import Application, Receive, Scope, Send
from portal.toolkit.live.rounds import OfThisLoop
from portal.toolkit.live.topic import Address

Wish = tuple[AbstractBaseUser, Sequence[Address]]


def people_of(session_keys: Sequence[str]) -> list[AbstractBaseUser | None]:
    """Two queries a session, however many of its sockets come at once."""
    people = {session_key: person_of(session_key) for session_key in dict.fromkeys(session_keys)}
    return [people[session_key] for session_key in session_keys]


def admitted_of(wishes: Sequence[Wish]) -> list[dict[Address, Address]]:
    """For each of (person, addresses) what `admission.admit` gives. The topics' queries once a person."""
    wanted: dict[object, tuple[AbstractBaseUser, dict[Address, None]]] = {}
    for user, addresses in wishes:
        wanted.setdefault(user.pk, (user, {}))[1].update(dict.fromkeys(addresses))
    admitted = {pk: admit(user, addresses) for pk, (user, addresses) in wanted.items()}
    return [
        {address: found[address] for address in addresses if address in found}
        for found, addresses in ((admitted[user.pk], addresses) for user, addresses in wishes)
    ]


people = OfThisLoop(people_of)
rights = OfThisLoop(admitted_of)


def signed_in(application: Application) -> Application:
    """Wrap what needs `user` and `session_key` in the scope; needs `cookies`. Raises DATABASE_AWAY."""

    async def known(scope: Scope, receive: Receive, send: Send) -> None:
        session_key = scope["cookies"].get(settings.SESSION_COOKIE_NAME)
        user = await people.ask(session_key) if session_key else None
        await application({**scope, "user": user or AnonymousUser(), "session_key": session_key}, receive, send)

    return known
