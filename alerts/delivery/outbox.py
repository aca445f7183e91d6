"""The drainer of the outbox."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.db import InterfaceError, OperationalError, connection

from alerts.delivery import results
from alerts.delivery.claims import CLAIM, LEASE_S, claim, drainer, give_back, is_due
from alerts.delivery.message import Letters
from alerts.delivery.smtp import DeliveryError, MailServer
from alerts.models import Delivery
from alerts.wake import wake

log = structlog.get_logger(__name__)

DRAIN_S = 30.0
START_WITHIN_S = 20.0
"""Of a claim: what could not be started by then is given back, so that nothing is sent without a lease."""
SEND_WITHIN_S = LEASE_S - 5.0
KEEP_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0)


class Clock:
    """The caller's `now`, going on: a drainer lives for up to half a minute."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._started = time.monotonic()

    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def now(self) -> datetime:
        return self._now + timedelta(seconds=self.elapsed())


def drain(now: datetime) -> int:
    """Send what is due, for about 30 s; the number of mails that were accepted.

    Sends outside any transaction, and at least once: whoever is killed between the answer of the mail server and
    writing it down leaves a lease that ends, and the mail goes again with the same Message-ID. Returns 0 at once when
    enough drainers are at work.
    """
    clock = Clock(now)
    with drainer() as there_is_room:
        drained = _drain(clock) if there_is_room else None
    # What was queued just before this drainer left found no room: it must not wait for beat.
    if drained is not None and drained.may_go_on and is_due(clock.now()):
        _wake_another()
    return drained.accepted if drained else 0


class _Drained:
    """What a drainer has done: `may_go_on` is False when the mail server cannot be used for now."""

    accepted = 0
    may_go_on = True


def _drain(clock: Clock) -> _Drained:
    drained, server = _Drained(), MailServer()
    try:
        while drained.may_go_on and clock.elapsed() < DRAIN_S and (rows := claim(clock.now())):
            if len(rows) == CLAIM:
                _wake_another()
            _send_all(rows, server, clock, drained)
    finally:
        server.close()
    return drained


def _send_all(rows: Sequence[Delivery], server: MailServer, clock: Clock, drained: _Drained) -> None:
    began = time.monotonic()
    letters = Letters(rows, clock.now())
    for place, row in enumerate(rows):
        if time.monotonic() - began > START_WITHIN_S:
            give_back(rows[place:])
            return
        try:
            answer = server.send(letters.build(row), began + SEND_WITHIN_S)
        except Exception as error:  # one row that cannot be sent must not stop the others
            failure = _failure(row, error)
            if failure.unreachable:
                drained.may_go_on = False
                _put_off(rows[place:], server, failure, clock)
                return
            _keep(row, partial(results.failed, row, server.name, failure, clock.now()))
        else:
            drained.accepted += _keep(row, partial(results.accepted, row, server.name, answer, clock.now()))


def _failure(row: Delivery, error: Exception) -> DeliveryError:
    if isinstance(error, DeliveryError):
        log.info("mail_not_accepted", delivery=row.key, answer=str(error), permanent=error.permanent)
        return error
    log.exception("mail_not_made", delivery=row.key)
    return DeliveryError(f"The mail could not be made: {type(error).__name__}")


def _put_off(rows: Sequence[Delivery], server: MailServer, failure: DeliveryError, clock: Clock) -> None:
    for row in rows:
        _keep(row, partial(results.failed, row, server.name, failure, clock.now()))


def _keep(row: Delivery, write: Callable[[], bool]) -> bool:
    """Write a result, also while PostgreSQL restarts: else a mail that was accepted would be sent again."""
    for pause_s in KEEP_PAUSES_S:
        try:
            return _written(row, write)
        except (OperationalError, InterfaceError) as error:
            log.warning("result_not_kept_yet", delivery=row.key, error=str(error))
            if not connection.is_usable():  # else it stays: the drainer's lock hangs on it
                connection.close()
            time.sleep(pause_s)
    return _written(row, write)


def _written(row: Delivery, write: Callable[[], bool]) -> bool:
    if write():
        return True
    log.warning("lease_lost", delivery=row.key)
    return False


def _wake_another() -> None:
    from alerts import tasks  # (which imports this module)

    wake(tasks.deliver_task)
