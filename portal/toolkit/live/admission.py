"""Who a socket belongs to, and what that person may watch. Asked of the database, in threads of its own."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import TypeVar

import structlog
from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import InterfaceError, OperationalError, close_old_connections
from django.http import HttpRequest
from django.utils.translation import get_language_from_request, get_supported_language_variant

from portal.toolkit.live.topic import Address, topics

DATABASE_AWAY = (OperationalError, InterfaceError)

Credential = str | None | Callable[[], AbstractBaseUser | None]
"""How an open client says who it is, again and again: a session's key, or what asks whose token it is now."""

T = TypeVar("T")
logger = structlog.get_logger(__name__)
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="live-admission")


async def in_thread(ask: Callable[[], T]) -> T:
    """`ask()` in a thread with its own database connection. Raises what it raises, so also DATABASE_AWAY."""
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(_with_connection, ask))


def _with_connection(ask: Callable[[], T]) -> T:
    close_old_connections()
    try:
        return ask()
    finally:
        close_old_connections()


def person_of(credential: Credential) -> AbstractBaseUser | None:
    """Who is signed in with it now: None once it ended, its person is inactive, or the password changed."""
    user = credential() if callable(credential) else _person_of_session(credential)
    return user if user and user.is_authenticated and user.is_active else None


def _person_of_session(session_key: str | None) -> AbstractBaseUser | AnonymousUser:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return get_user(request)


def admit(user: AbstractBaseUser, asked: Iterable[Address]) -> dict[Address, Address]:
    """From what was asked to the canonical address, for all that `user` may watch; the rest is left out.

    A topic that raises admits nobody; a database that is away raises DATABASE_AWAY instead.
    """
    wanted: dict[str, dict[str, Address]] = defaultdict(dict)
    for address in asked:
        wanted[address.topic][address.key] = address
    admitted: dict[Address, Address] = {}
    for name, addresses in wanted.items():
        found = _admit_to_topic(user, name, list(addresses))
        for key, address in addresses.items():
            if key in found:
                admitted[address] = address if found[key] == key else Address(name, found[key])
    return admitted


def _admit_to_topic(user: AbstractBaseUser, name: str, keys: list[str]) -> dict[str, str]:
    topic = topics().get(name)
    if topic is None:
        return {}
    try:
        return topic.admit_many(user, keys)
    except DATABASE_AWAY:
        raise
    except Exception:  # another app's code; to admit nobody is the safe answer
        logger.exception("topic does not admit", topic=name)
        return {}


def language_of(asked: str, cookies: dict[str, str], headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The language of the page that asks; when it names none that we have, what Django would choose for a page."""
    try:
        return get_supported_language_variant(asked)
    except LookupError:
        request = HttpRequest()
        request.COOKIES = cookies
        accepted = dict(headers).get(b"accept-language", b"")
        request.META["HTTP_ACCEPT_LANGUAGE"] = accepted.decode("latin1")
        return get_language_from_request(request)
