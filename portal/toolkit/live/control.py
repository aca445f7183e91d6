"""Orders to open sockets, in every web process: end with a session, look again at a person's rights.

They travel on the hub's own subscription. One that is lost costs little: every socket looks again at its session and
at what it may watch at least once a minute.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Any

from django.contrib.auth.signals import user_logged_out
from django.db import transaction
from django.dispatch import receiver
from django.http import HttpRequest

from portal.toolkit.live.touch import publish

CONTROL = "live:control"


def session_tag(session_key: str) -> str:
    """What stands for a session in a message: the key itself is a password and stays at home."""
    return hashlib.blake2b(session_key.encode(), digest_size=16).hexdigest()


def close_session(session_key: str) -> None:
    """Close every socket of this session with 4401, after the commit when one is under way."""
    _order({"close_session": session_tag(session_key)})


def recheck_user(user_id: int) -> None:
    """Let every socket of this person look at once at whether they are signed in and what they may watch.

    After the commit when one is under way: the sockets read the database.
    """
    _order({"recheck_user": user_id})


def _order(order: dict[str, str | int]) -> None:
    transaction.on_commit(partial(publish, CONTROL, json.dumps(order)))


@receiver(user_logged_out, dispatch_uid="live.on_signed_out")
def on_signed_out(request: HttpRequest | None, **_signal: Any) -> None:
    session_key = getattr(getattr(request, "session", None), "session_key", None)
    if session_key:
        close_session(session_key)
