"""Collecting what is due: each source is claimed in the database, read in its own thread, and told when it is next.

A claim is a lease: `due_at` moves to where the run must be over. A worker that dies leaves nothing behind but that.
Slow targets hold threads of their own and nobody else's time.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import structlog
from django.db import Error, InterfaceError, OperationalError, connections
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from monitoring.collectors import found
from monitoring.collectors.base import CollectError, collector
from monitoring.collectors.options import needs_of
from monitoring.history.frame import Frame, Refusal
from monitoring.history.record import record
from monitoring.models import Collector, Source
from portal.toolkit.instants import from_ms
from portal.toolkit.sentence import Term, fitted, paragraph, say, sentence

log = structlog.get_logger(__name__)

THREADS = 32
LEASE_MARGIN_S = 5
BACK_OFF_AT_MOST_S = 300
BACK_OFF_DOUBLINGS = 5
JITTER = 0.1
MAX_ERROR = 2000
GOLDEN_RATIO = 0.6180339887

# The second condition finds what a clock that was set back has put off for longer than any interval or back-off.
_CLAIM = """
WITH due AS MATERIALIZED (
    SELECT source.id
    FROM monitoring_source source JOIN monitoring_server server ON server.id = source.server_id
    WHERE NOT source.paused AND NOT server.paused AND (
        source.due_at <= %(now)s
        OR source.due_at > %(now)s + make_interval(secs => 2 * source.interval_s + source.timeout_s + 600)
    )
    ORDER BY source.due_at
    LIMIT %(most)s
    FOR UPDATE OF source SKIP LOCKED
)
UPDATE monitoring_source source
SET due_at = %(now)s + make_interval(secs => source.timeout_s + %(margin)s)
FROM due
WHERE source.id = due.id
RETURNING source.*
"""

_claiming = threading.Lock()
_running: set[threading.Thread] = set()


def collect_due(now: datetime | None = None) -> list[threading.Thread]:
    """Start a run of every source that is due, at most THREADS at a time in this process, and return at once.

    May run as often and in as many processes as it likes: a source is run by one at a time. Without PostgreSQL it does
    nothing; the next tick tries again.
    """
    with _claiming:
        _running.difference_update([run for run in _running if not run.is_alive()])
        try:
            sources = claim(now or timezone.now(), THREADS - len(_running))
        except Error as error:
            log.warning("collect_claim_failed", error=str(error))
            return []
        # Daemons: a stuck target must not keep a worker from stopping, and a lost run is only a lease that ends.
        started = [threading.Thread(target=_run, args=(source,), daemon=True) for source in sources]
        for run in started:
            run.start()
        _running.update(started)
    return started


def claim(now: datetime, most: int) -> list[Source]:
    """At most `most` sources that are due, those that wait longest first; nobody else gets them until `due_at`."""
    if most < 1:
        return []
    return list(Source.objects.raw(_CLAIM, {"now": now, "most": most, "margin": LEASE_MARGIN_S}))


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went: what is to be written into the source. `error` is a stored sentence; with `ok` it names the part
    that was not usable."""

    ok: bool
    error: str
    duration_ms: int
    samples: int | None = None


def _run(source: Source) -> None:
    """A worker's loop has nobody above it: whatever happens is logged, and the lease brings the source back."""
    try:
        settle(source, run_once(source), timezone.now())
    except Error as error:
        log.warning("collect_not_kept", source=source.pk, error=str(error))
    except Exception:
        log.exception("collect_run_broken", source=source.pk)
    finally:
        connections.close_all()


def run_once(source: Source) -> Outcome:
    """Read the source and record what it showed. Raises OperationalError when PostgreSQL is away."""
    began = time.monotonic()
    try:
        return _collect_and_record(source, began)
    except CollectError as error:
        return Outcome(False, error.stored, _ms_since(began))
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.exception("collector_broken", source=source.pk, collector=source.collector)
        unexpected = sentence(_("unexpected: %(error)s"), error=type(error).__name__)
        return Outcome(False, unexpected, _ms_since(began))


def _collect_and_record(source: Source, began: float) -> Outcome:
    at_ms = time.time_ns() // 1_000_000
    collected = collector(source.collector)(source, at_ms)
    duration_ms = _ms_since(began)
    numbers = np.fromiter(collected.values.values(), np.float64, len(collected.values))
    frames = [Frame(source.server_id, at_ms, tuple(collected.values), numbers)]
    complaints = [collected.complaint]
    if collected.found is not None:
        roster = found.enrol(source, collected.found, from_ms(at_ms))
        frames += found.frames_of(roster, collected.found, at_ms)
        complaints.append(roster.complaint)
    refused = record(frames, origin=source.collector).refused
    return Outcome(True, _complaint(complaints, refused), duration_ms, collected.samples)


def _ms_since(began: float) -> int:
    return round(1000 * (time.monotonic() - began))


def _complaint(complaints: Iterable[str], refused: Sequence[Refusal]) -> str:
    """As one stored sentence."""
    words = list(complaints)
    if refused:
        names = ", ".join(sorted({refusal.metric or "*" for refusal in refused})[:5])
        words.append(
            sentence(
                _("Not kept: %(count)s of %(names)s (%(reason)s)."),
                count=str(len(refused)),
                names=names,
                reason=Term(refused[0].reason),
            )
        )
    return paragraph(words)


def settle(source: Source, outcome: Outcome, now: datetime) -> bool:
    """Write down how it went and when it is next. False when the lease ended meanwhile and somebody else has it."""
    fields: dict[str, Any] = {"error": fitted(outcome.error, MAX_ERROR), "duration_ms": outcome.duration_ms}
    if outcome.error:
        fields["error_at"] = now
    if outcome.ok:
        fields |= {"ok_at": now, "failures": 0, "samples": outcome.samples, "due_at": next_run(source, now)}
    else:
        fields |= {"failures": source.failures + 1, "due_at": now + back_off(source)}
        log.info("collect_failed", source=source.pk, failures=fields["failures"], error=say(fields["error"]))
    # Whoever claimed it after us, or asked for a run now, has moved due_at: then theirs counts.
    return bool(Source.objects.filter(pk=source.pk, due_at=source.due_at).update(**fields))


def next_run(source: Source, now: datetime) -> datetime:
    """On the source's grid, or about an interval from now where the collector wants it so."""
    needs = needs_of(source.collector)
    if not needs.jitter_s:
        return next_on_grid(source, now)
    least, most = needs.every_s
    seconds = source.interval_s + random.uniform(-needs.jitter_s, needs.jitter_s)  # noqa: S311
    return now + timedelta(seconds=min(max(seconds, least), most))


def next_on_grid(source: Source, now: datetime) -> datetime:
    """The next multiple of the interval, shifted by the source's id so that not all are read in one second.

    The machine's own numbers stay unshifted: their grid is the one of the hot layer's slots.
    """
    interval = source.interval_s
    shift = 0.0 if source.collector == Collector.HOST else source.pk * GOLDEN_RATIO % 1 * interval
    passed = math.floor((now.timestamp() - shift) / interval)
    return datetime.fromtimestamp((passed + 1) * interval + shift, UTC)


def back_off(source: Source) -> timedelta:
    """How long to leave a source alone that failed again: doubling, at most 5 minutes, never under its interval."""
    doubled = source.interval_s * 2 ** min(source.failures, BACK_OFF_DOUBLINGS)
    seconds = max(source.interval_s, min(doubled, BACK_OFF_AT_MOST_S))
    return timedelta(seconds=seconds * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311
