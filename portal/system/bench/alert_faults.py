"""Servers cross a limit up and down while things break at random moments: was each person told of each crossing?"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import redis

from portal.embedded.running import RunningPortal, running_portal
from portal.embedded.services import ROOT
from portal.system.bench._alert_ledger import AlertLedger
from portal.system.bench._inside import environment
from portal.system.bench._smtp import FaultyMailServer, Kept, Mischief
from portal.toolkit.env import read_env_file

ROUNDS = 10
SERVERS, PEOPLE = 20, 2

Fault = Callable[[RunningPortal, FaultyMailServer], int]
"""Breaks something, and returns when it could heal: how many mails may come a second time because of it."""


def run() -> dict[str, float]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mail = stack.enter_context(FaultyMailServer.running())
        portal = stack.enter_context(running_portal(folder / "var", env={"EMAIL_URL": mail.url}))
        ledger = stack.enter_context(
            AlertLedger.running(portal, mail, folder / "ledger", servers=SERVERS, people=PEOPLE)
        )
        may_repeat = 0
        for _ in range(ROUNDS):
            for fault in random.sample(list(FAULTS.values()), len(FAULTS)):
                time.sleep(random.uniform(0.0, 2.0))  # noqa: S311 (a moment, not a secret)
                may_repeat += fault(portal, mail)
                ledger.wait_for_mails(5)
        verdict = ledger.end()
    return {
        "alert_faults.faults": float(ROUNDS * len(FAULTS)),
        "alert_faults.crossings": float(verdict.crossings),
        "alert_faults.mails": float(verdict.mails),
        "alert_faults.wrong": float(len(verdict.wrong)),
        "alert_faults.repeated": float(sum(verdict.twice.values())),
        "alert_faults.may_repeat": float(may_repeat),
    }


# --- The worker -------------------------------------------------------------------------------------------------------


def kill_after_the_answer(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """The worker has its 250 and dies before it can write that down."""
    mischief = Mischief()
    mischief.after_answer, happened = _killing(portal)
    return _let_it_happen(portal, mail, mischief, happened)


def kill_before_the_answer(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """The mail is kept, and the worker dies before it hears of it."""
    mischief = Mischief()
    mischief.before_answer, happened = _killing(portal)
    return _let_it_happen(portal, mail, mischief, happened)


def kill_between_commit_and_evaluation(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """Crossings are committed while the worker cannot look at them, and then it is gone."""
    portal.kill("worker-fast", signal.SIGSTOP)
    time.sleep(2.0)
    return _kill(portal, "worker-fast")


def kill_the_worker(portal: RunningPortal, mail: FaultyMailServer) -> int:
    return _kill(portal, "worker-fast")


def _killing(portal: RunningPortal) -> tuple[Callable[[Kept], None], threading.Event]:
    """What kills the worker with the next mail, once; and whether it has."""
    happened = threading.Event()

    def kill(_: Kept) -> None:
        if not happened.is_set():
            portal.kill("worker-fast")
            happened.set()

    return kill, happened


def _let_it_happen(portal: RunningPortal, mail: FaultyMailServer, mischief: Mischief, happened: threading.Event) -> int:
    pid = portal.pids()["worker-fast"]
    mail.mischief = mischief
    assert happened.wait(30), "no mail was sent"
    mail.mischief = Mischief()
    portal.wait_for_another("worker-fast", pid)
    return 1


def _kill(portal: RunningPortal, child: str) -> int:
    portal.wait_for_another(child, portal.kill(child))
    return 1


# --- Ticks and services -----------------------------------------------------------------------------------------------


def kill_beat(portal: RunningPortal, mail: FaultyMailServer) -> int:
    _kill(portal, "beat")
    return 0


def two_beats(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """For five seconds each tick comes twice."""
    beat = [sys.executable, "-m", "celery", "-A", "portal", "beat", "--pidfile", "", "--loglevel", "WARNING"]
    with tempfile.TemporaryDirectory() as folder:
        second = subprocess.Popen(
            [*beat, "--schedule", f"{folder}/schedule"],
            cwd=ROOT,
            env=environment(portal),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(5.0)
        second.kill()
        second.wait()
    return 0


def restart_postgres(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """Every connection is cut, and a mail under way cannot be written down for a second or two."""
    portal.wait_for_another("postgres", portal.kill("postgres", signal.SIGINT))
    return 1


def restart_redis(portal: RunningPortal, mail: FaultyMailServer) -> int:
    _kill(portal, "redis")
    return 0


def flush_redis(portal: RunningPortal, mail: FaultyMailServer) -> int:
    with redis.Redis.from_url(read_env_file(portal.data / "portal.env")["REDIS_URL"]) as client:
        client.flushall()
    return 0


# --- The mail server --------------------------------------------------------------------------------------------------


def refuse_connections(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """It is stopped; a mail that it has just kept may lose its answer."""
    mail.down()
    time.sleep(4.0)
    mail.up()
    return 1


def defer(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """451 for the next mails."""
    return _until_used_up(mail, Mischief(defers=4))


def close_after_data(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """It takes two mails, loses them, and closes the connection without an answer."""
    return _until_used_up(mail, Mischief(closes_after_data=2))


def keep_and_close(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """It keeps a mail and closes the connection without an answer: it will come again."""
    return _until_used_up(mail, Mischief(keeps_and_closes=1)) + 1


def answer_slowly(portal: RunningPortal, mail: FaultyMailServer) -> int:
    """Each answer takes half a second, for six seconds."""
    mail.mischief = Mischief(delay_s=0.5)
    time.sleep(6.0)
    mail.mischief = Mischief()
    return 0


def _until_used_up(mail: FaultyMailServer, mischief: Mischief) -> int:
    mail.mischief = mischief
    deadline = time.monotonic() + 30
    while mischief.defers or mischief.closes_after_data or mischief.keeps_and_closes:
        assert time.monotonic() < deadline, "no mails were sent"
        time.sleep(0.05)
    mail.mischief = Mischief()
    return 0


WORKER_FAULTS: dict[str, Fault] = {
    "killed between the answer and writing it down": kill_after_the_answer,
    "killed just before the answer": kill_before_the_answer,
    "killed between commit and evaluation": kill_between_commit_and_evaluation,
    "killed at any moment": kill_the_worker,
}
SERVICE_FAULTS: dict[str, Fault] = {
    "beat killed": kill_beat,
    "two beats": two_beats,
    "PostgreSQL restarted": restart_postgres,
    "Redis restarted": restart_redis,
    "Redis flushed": flush_redis,
}
MAIL_FAULTS: dict[str, Fault] = {
    "mail server stopped": refuse_connections,
    "mail server defers": defer,
    "mail server closes after DATA": close_after_data,
    "mail server keeps and closes": keep_and_close,
    "mail server slow": answer_slowly,
}
FAULTS = WORKER_FAULTS | SERVICE_FAULTS | MAIL_FAULTS
