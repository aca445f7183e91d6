"""Wake-ups for the workers. Only speed: beat asks the same questions over and over, the database knows the answers.

At most one wake-up of a kind waits in the queue: the first sets a mark, the task takes it away before it looks.
"""

from __future__ import annotations

from typing import Any

import structlog
from django.db import transaction
from kombu.exceptions import OperationalError

from portal.toolkit.redis import AWAY, breaker, client

log = structlog.get_logger(__name__)

MARK_MS = 1_000
"""A mark outlives a task that got lost by this much at most."""


def wake(task: Any) -> None:
    """Ask for one run of `task` soon, after the running transaction. Never raises: a lost wake-up costs a second."""
    transaction.on_commit(lambda: _ask(task))


def _ask(task: Any) -> None:
    try:
        with breaker:
            if not client().set(_mark(task), b"1", nx=True, px=MARK_MS):
                return
        task.apply_async(expires=10, retry=False)
    except (*AWAY, OperationalError) as error:
        log.debug("not_woken", task=task.name, error=str(error))


def taken(task: Any) -> None:
    """What the woken task does first: from here on, whoever has news must wake again."""
    try:
        with breaker:
            client().delete(_mark(task))
    except AWAY as error:
        log.debug("mark_stays", task=task.name, error=str(error))


def _mark(task: Any) -> str:
    return f"wake:{task.name}"
