"""Evaluation as it runs: claimed batches, one transaction; and what time alone decides, in sweeps.

One evaluator works at a time. Its transaction is its lease: a killed one leaves its batches as they were, and the lock
goes with its connection; one that hangs loses it after HUNG_AFTER_MS.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from django.db.models import QuerySet

from alerts import incidents
from alerts.rules import patience
from alerts.rules.judge import judge
from alerts.rules.sweeping import look_around
from monitoring.models import Batch

log = structlog.get_logger(__name__)

LONGEST_S = 20.0
BATCHES_AT_ONCE = 200
SAMPLES_AT_ONCE = 200_000
LOCK_TIMEOUT_MS = 5_000
HUNG_AFTER_MS = 30_000
_LOCK = 0x6F6D_0004
_AWAY = (OperationalError, InterfaceError)


def evaluate_due(now: datetime) -> int:
    """Evaluate the batches that nobody has yet, until none is left or LONGEST_S are over. Returns how many.

    May run at any time, any number of times: while another evaluator works it returns at once. Without PostgreSQL it
    does nothing; the batches wait.
    """
    began, done = time.monotonic(), 0
    try:
        while (passed := time.monotonic() - began) < LONGEST_S:
            taken = _evaluate_some(now + timedelta(seconds=passed))
            if not taken:
                break
            done += taken
    except _AWAY as error:
        log.warning("evaluation_put_off", error=str(error))
    return done


def sweep(now: datetime) -> None:
    """What no sample decides: silence, thresholds and servers that are not watched any more, times that ran out.

    May run at any time, any number of times. Without PostgreSQL it does nothing.
    """
    evaluate_due(now)
    try:
        with transaction.atomic():
            _wait_for_the_lock()
            look_around(now, all_evaluated=not _due().exists())
        incidents.tend(now)
    except _AWAY as error:
        log.warning("alert_sweep_put_off", error=str(error))


def _evaluate_some(now: datetime) -> int:
    """One transaction's worth. Returns how many batches were claimed."""
    claimed: list[Batch] = []
    try:
        with transaction.atomic():
            if _is_alone():
                claimed = _claim()
                _judge_all(claimed, now)
    except _AWAY:
        raise
    except Exception:
        log.exception("evaluation_failed", batches=[batch.pk for batch in claimed])
        for batch in claimed:
            _save_what_can_be(batch, now)
    return len(claimed)


def _save_what_can_be(batch: Batch, now: datetime) -> None:
    """Evaluate each server of a batch that fails as a whole for which that is possible, the others later again."""
    failed = _judge_halves(batch, patience.servers_left(batch.pk, batch.server_ids), now)
    if failed:
        if patience.failed(batch.pk, failed):
            return
        log.error("evaluation_given_up", batch=batch.pk, servers=failed)
    Batch.objects.filter(pk=batch.pk, evaluated_at=None).update(evaluated_at=now)
    patience.forget(batch.pk)


def _judge_halves(batch: Batch, server_ids: Sequence[int], now: datetime) -> list[int]:
    """Evaluate these servers, in halves where that fails. Returns the ones that cannot be."""
    try:
        with transaction.atomic():
            _wait_for_the_lock()
            judge([batch], server_ids, now)
    except _AWAY:
        raise
    except Exception:
        if len(server_ids) == 1:
            log.exception("evaluation_failed", batch=batch.pk, server=server_ids[0])
            return list(server_ids)
        half = len(server_ids) // 2
        return _judge_halves(batch, server_ids[:half], now) + _judge_halves(batch, server_ids[half:], now)
    return []


def _judge_all(batches: list[Batch], now: datetime) -> None:
    if batches:
        judge(batches, {server_id for batch in batches for server_id in batch.server_ids}, now)
        Batch.objects.filter(pk__in=[batch.pk for batch in batches]).update(evaluated_at=now)


def _due() -> QuerySet[Batch]:
    return Batch.objects.filter(evaluated_at=None).exclude(pk__in=patience.put_off()).order_by("pk")


def _claim() -> list[Batch]:
    """The oldest batches that are due, at least one, and about SAMPLES_AT_ONCE."""
    batches: list[Batch] = []
    samples = 0
    for batch in _due().select_for_update(skip_locked=True)[:BATCHES_AT_ONCE]:
        samples += batch.samples
        if batches and samples > SAMPLES_AT_ONCE:
            break
        batches.append(batch)
    return batches


def _is_alone() -> bool:
    """Whether this transaction is the evaluator's from here on."""
    _bound_the_lease()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchall()[0][0])


def _wait_for_the_lock() -> None:
    """Raises OperationalError when another evaluator keeps it for longer than LOCK_TIMEOUT_MS."""
    _bound_the_lease()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _bound_the_lease() -> None:
    """A process that hangs is not dead: PostgreSQL ends its transaction, so that another one can evaluate."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, true), set_config('idle_in_transaction_session_timeout', %s, true)",
            [str(LOCK_TIMEOUT_MS), str(HUNG_AFTER_MS)],
        )
