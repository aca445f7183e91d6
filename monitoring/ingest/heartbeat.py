"""/ping/<uuid>: a job, of cron for example, says that it ran. Its silence, and its failures, become samples."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from monitoring.history.frame import Frame, SeriesName, canonical_labels
from monitoring.history.record import record
from monitoring.models import Job
from portal.toolkit.instants import at_ms
from portal.toolkit.intake import Answer, Push, failure

ORIGIN = "job"
MAX_BYTES = 100_000
MAX_SAID = 500
PATH = re.compile(r"/ping/(?P<job>[^/]{1,100})(?:/(?P<word>[^/]{1,20}))?")
RECORD_EVERY = timedelta(seconds=10)


def accept(push: Push, _nobody: None) -> Answer:
    """200 when it is kept; who knows the job's UUID may ping it."""
    job, code = _job(push.parts["job"]), _exit_code(push.parts.get("word"))
    if job is None:
        return failure(404, "not_found", "there is no such job")
    if code is None and push.parts.get("word") != "start":
        return failure(400, "bad_path", "use /start, /fail or an exit code from 0 to 255")
    now = timezone.now()
    if code is None:
        Job.objects.filter(pk=job.pk).update(started_at=now)
    else:
        _end(job, code, now, _said(push.body))
    return Answer(200, {"job": job.name, "at": now.isoformat(timespec="milliseconds")})


def record_jobs(now: datetime) -> int:
    """Record how long jobs are overdue, and whether they failed; how many jobs that were.

    A job that is in time says so when it runs; it is repeated here only for servers that nothing else is known of: on
    others it would hide that they are silent. Who changes a job sets its `recorded_at` to None. May run at any time,
    any number of times.
    """
    due = [job for job in _to_record(now) if _must_tell(job, now)]
    _record(due, now)
    return len(due)


def overdue_s(job: Job, now: datetime) -> float:
    """Seconds since the job should have said something; 0 when it is in time, or paused."""
    if job.paused:
        return 0.0
    last = max(at for at in (job.pinged_at, job.failed_at, job.created_at) if at)
    due = last + timedelta(seconds=job.period_s + job.grace_s)
    return max(0.0, round((now - due).total_seconds()))


def has_failed(job: Job) -> bool:
    """Whether its last run did."""
    failed = job.failed_at is not None and (job.pinged_at is None or job.failed_at > job.pinged_at)
    return failed and not job.paused


def _job(text: str) -> Job | None:
    try:
        return Job.objects.filter(uuid=uuid.UUID(text)).first()
    except ValueError:
        return None


def _exit_code(word: str | None) -> int | None:
    """0 for success, 1 for /fail; None for /start and what makes no sense."""
    if word in {None, "fail"}:
        return 0 if word is None else 1
    assert word is not None
    return int(word) if word.isascii() and word.isdecimal() and len(word) <= 3 and int(word) <= 255 else None


def _said(body: bytes) -> str:
    """The start of what a job sent along, as text for people."""
    text = body[: 4 * MAX_SAID].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in text)[:MAX_SAID].strip()


def _end(job: Job, code: int, now: datetime, said: str) -> None:
    """A run ended. The row first: should the samples not get there, the next tick finds that they are missing."""
    ended = "failed_at" if code else "pinged_at"
    duration_s = (now - job.started_at).total_seconds() if job.started_at else None
    Job.objects.filter(pk=job.pk).update(exit_code=code, said=said, started_at=None, **{ended: now})
    setattr(job, ended, now)
    _record([job], now, duration_s)


def _to_record(now: datetime) -> Sequence[Job]:
    watched = Job.objects.filter(server__paused=False, server__gone_at=None)
    due = watched.filter(Q(recorded_at=None) | Q(recorded_at__lte=now - RECORD_EVERY / 2))
    return list(due.select_related("server").prefetch_related("server__sources"))


def _must_tell(job: Job, now: datetime) -> bool:
    changed = [at for at in (job.pinged_at, job.failed_at) if at]
    if job.recorded_at is None or any(at > job.recorded_at for at in changed) or overdue_s(job, now):
        return True
    return (
        not job.paused
        and not job.server.sources.all()
        and job.server.push_interval_s is None
        and not job.server.simulated
    )


def _record(jobs: Sequence[Job], now: datetime, duration_s: float | None = None) -> None:
    frames = []
    for job in jobs:
        labels = canonical_labels({"job": job.name})
        values: dict[str | SeriesName, float] = {
            SeriesName("job_overdue", labels): overdue_s(job, now),
            SeriesName("job_failed", labels): float(has_failed(job)),
        }
        if duration_s is not None:
            values[SeriesName("job_duration", labels)] = duration_s
        frames.append(Frame.of(job.server_id, at_ms(now), values))
    if frames:
        record(frames, origin=ORIGIN)
        Job.objects.filter(pk__in=[job.pk for job in jobs]).update(recorded_at=now)
