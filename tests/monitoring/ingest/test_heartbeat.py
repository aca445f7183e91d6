"""/ping/<uuid>: a job's runs, failures and silence become samples."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from monitoring.history.frame import SeriesName
from monitoring.history.read import read
from monitoring.ingest import doors
from monitoring.ingest.heartbeat import record_jobs
from monitoring.models import Collector, Job, Server, Source
from portal.toolkit.intake import Answer, Push
from tests.cast import make_cast, sign_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

LABELS = '{"job":"backup"}'


@pytest.fixture
def job(server: Server) -> Job:
    return Job.objects.create(server=server, name="backup", period_s=3600, grace_s=600)


def ping(job: Job | str, word: str = "", body: bytes = b"", method: str = "GET") -> Answer:
    path = f"/ping/{job.uuid if isinstance(job, Job) else job}" + (f"/{word}" if word else "")
    door = next(door for door in doors.DOORS if door.match(path) is not None)
    return door.handler(Push(path, {}, body, "10.0.0.7", {}, method, door.match(path) or {}), None)


def told(server: Server) -> dict[str, list[float]]:
    now_ms = int(time.time() * 1000)
    names = ["job_overdue", "job_failed", "job_duration"]
    tracks = read(server.pk, [SeriesName(name, LABELS) for name in names], now_ms - 864_000_000, now_ms + 200_000)
    rows = ([value for value in row.tolist() if not math.isnan(value)] for row in tracks.values)
    return {name: row for name, row in zip(names, rows, strict=True) if row}


def aged(job: Job, age: timedelta) -> datetime:
    """Everything of the job happened that much earlier."""
    moments = ("created_at", "started_at", "pinged_at", "failed_at", "recorded_at")
    job.refresh_from_db()
    past = {name: at - age for name in moments if (at := getattr(job, name))}
    Job.objects.filter(pk=job.pk).update(**past)
    return timezone.now()


def test_a_ping_says_that_the_job_ran(job: Job) -> None:
    assert ping(job).status == 200
    job.refresh_from_db()
    assert (job.exit_code, job.failed_at, job.pinged_at is not None) == (0, None, True)
    assert told(job.server) == {"job_overdue": [0], "job_failed": [0]}


def test_a_start_before_it_gives_its_duration(job: Job) -> None:
    ping(job, "start")
    aged(job, timedelta(seconds=90))
    ping(job)
    assert [round(value) for value in told(job.server)["job_duration"]] == [90]


@pytest.mark.parametrize(("word", "code"), [("fail", 1), ("1", 1), ("255", 255)])
def test_a_failure_is_told_with_what_the_job_said(job: Job, word: str, code: int) -> None:
    assert ping(job, word, b"disk full\x00 \xff" + b"x" * 90_000, "POST").status == 200
    job.refresh_from_db()
    assert (job.exit_code, job.pinged_at, job.said[:9], len(job.said)) == (code, None, "disk full", 500)
    assert told(job.server)["job_failed"] == [1]


def test_exit_code_0_is_a_success_that_ends_a_failure(job: Job) -> None:
    ping(job, "fail")
    time.sleep(0.002)
    ping(job, "0")
    assert told(job.server)["job_failed"] == [1, 0]


@pytest.mark.parametrize("word", ["256", "-1", "x", "1e1", "٣", "1.0"])
def test_another_word_is_400(job: Job, word: str) -> None:
    assert ping(job, word).status == 400
    assert told(job.server) == {}


@pytest.mark.parametrize("text", ["x", "0b6ec2ad-2a6f-4c52-a9c9-9f6e9f0a3a11", "%00", "' OR 1=1"])
def test_a_job_that_does_not_exist_is_404(job: Job, text: str) -> None:
    assert ping(text).status == 404


def test_pings_leave_no_rows_of_history(job: Job) -> None:
    ping(job, "start")
    ping(job)
    assert job.history.count() == 1


# --- What nobody pings ------------------------------------------------------------------------------------------------


def test_a_job_in_time_says_so_on_a_server_that_nothing_else_is_known_of(job: Job) -> None:
    now = timezone.now()
    assert [record_jobs(now), record_jobs(now + timedelta(seconds=10))] == [1, 1]
    assert told(job.server)["job_overdue"] == [0, 0]


def test_elsewhere_it_does_not_hide_that_the_server_is_silent(job: Job) -> None:
    Source.objects.create(server=job.server, collector=Collector.HOST)
    now = timezone.now()
    assert [record_jobs(now), record_jobs(now + timedelta(seconds=10))] == [1, 0]


def test_silence_beyond_period_and_grace_is_told_in_seconds(job: Job) -> None:
    ping(job)
    now = aged(job, timedelta(seconds=4200))
    record_jobs(now + timedelta(seconds=5))
    record_jobs(now + timedelta(seconds=15))
    first, second = told(job.server)["job_overdue"][-2:]
    assert 4 <= first <= 7
    assert second - first == 10


def test_a_ping_ends_it(job: Job) -> None:
    record_jobs(aged(job, timedelta(days=1)))
    time.sleep(0.002)
    ping(job)
    overdue = told(job.server)["job_overdue"]
    assert overdue[0] > 0
    assert overdue[-1] == 0


def test_a_sample_that_was_lost_with_its_process_is_made_up_for(job: Job) -> None:
    Source.objects.create(server=job.server, collector=Collector.HOST)
    ping(job)
    Job.objects.update(failed_at=timezone.now(), exit_code=1)  # and killed here
    record_jobs(timezone.now() + timedelta(seconds=10))
    assert told(job.server)["job_failed"][-1] == 1


def test_a_paused_job_is_neither_overdue_nor_failed(job: Job) -> None:
    ping(job, "fail")
    now = aged(job, timedelta(days=1))
    Job.objects.update(paused=True, recorded_at=None)
    record_jobs(now)
    assert (told(job.server)["job_overdue"][-1], told(job.server)["job_failed"][-1]) == (0, 0)


def test_nothing_is_told_of_a_paused_server(job: Job) -> None:
    Server.objects.update(paused=True)
    assert record_jobs(timezone.now()) == 0


def test_jobs_are_told_apart(server: Server, make_server: Callable[..., Server]) -> None:
    for name, where in (("backup", server), ("cleanup", server), ("backup", make_server("beta"))):
        ping(Job.objects.create(server=where, name=name))
    assert server.series.filter(metric__name="job_failed").count() == 2


def test_the_admin_shows_the_command_and_leaves_what_pings_wrote(job: Job) -> None:
    browser = sign_in(make_cast().superuser)
    page = f"/admin/monitoring/job/{job.pk}/change/"
    assert f"/ping/{job.uuid}/$?" in browser.get(page).content.decode()
    ping(job)
    form = {"name": "backup", "server": job.server.pk, "period_s": 60, "grace_s": 10}
    assert browser.post(page, form).status_code == 302
    job.refresh_from_db()
    assert (job.period_s, job.recorded_at, job.pinged_at is not None) == (60, None, True)
