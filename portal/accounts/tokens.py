"""Read tokens: how a program that reads the API says who it is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest
from django.utils import timezone

from portal.accounts.models import ReadToken, User
from portal.toolkit.tokens import digest_of, hint_of, new_text

PREFIX = "omr_"
REMEMBERED_S = 10.0
"""How long a token that was switched off may still be let in by another process."""
REMEMBERED_MOST = 1_000
NOTED_EVERY = timedelta(seconds=10)


@dataclass(slots=True)
class _Known:
    token: ReadToken
    read_at: float


_known: dict[str, _Known] = {}


def make(person: User, name: str, text: str = "") -> tuple[ReadToken, str]:
    """A token that is not saved yet, and its text, which nobody can read again later; `text` when it is given."""
    token = ReadToken(person=person, name=name)
    return token, give_text(token, text)


def give_text(token: ReadToken, text: str = "") -> str:
    """Let `token` be the one with this text, a new one unless given; answers the text. Does not save."""
    text = text or new_text(PREFIX)
    token.digest, token.hint = digest_of(text), hint_of(text)
    return text


def ensure(person: User, name: str, text: str) -> None:
    """The token of that name and text; one that somebody switched off stays off. May run at every start."""
    token = ReadToken.objects.filter(person=person, name=name).first() or ReadToken(person=person, name=name)
    if token.digest != digest_of(text):
        give_text(token, text)
        token.save()


def sent_with(request: HttpRequest) -> str | None:
    """The token that the request came with; None when it has none."""
    scheme, _space, text = request.headers.get("Authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def person_of(text: str, address: str) -> User | None:
    """Whom a program with this token reads as; None when there is no such token or it may not be used (any more).

    No query while the token is remembered, except to note its use.
    """
    token = _token(digest_of(text))
    now = timezone.now()
    if token is None or not token.enabled or not token.person.is_active:
        return None
    if token.expires_at is not None and token.expires_at <= now:
        return None
    if token.used_at is None or now - token.used_at >= NOTED_EVERY:
        token.used_at, token.used_from = now, address
        ReadToken.objects.filter(pk=token.pk).update(used_at=now, used_from=address)
    return token.person


def person_again(text: str, address: str) -> User | None:
    """`person_of` as the database says it now: for what stays open for longer than a token is remembered."""
    _known.pop(digest_of(text), None)
    return person_of(text, address)


def _token(digest: str) -> ReadToken | None:
    known = _known.get(digest)
    if known is None or time.monotonic() - known.read_at > REMEMBERED_S:
        token = ReadToken.objects.select_related("person").filter(digest=digest).first()
        if token is None:
            _known.pop(digest, None)
            return None
        if len(_known) >= REMEMBERED_MOST:
            _known.clear()
        known = _known[digest] = _Known(token, time.monotonic())
    return known.token


@receiver([post_save, post_delete], sender=ReadToken)
@receiver([post_save, post_delete], sender=User)
def on_token_or_person_changed(**_signal: object) -> None:
    """Here at once; other processes follow within REMEMBERED_S."""
    _known.clear()
