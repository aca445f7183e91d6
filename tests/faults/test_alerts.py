"""Whatever breaks between a sample and a mailbox: each person is told of each crossing of a limit, and of its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from portal.embedded.running import RunningPortal, running_portal
from portal.system.bench._alert_ledger import AlertLedger
from portal.system.bench._clock import Clock
from portal.system.bench._inside import inside
from portal.system.bench._smtp import FaultyMailServer, Mischief
from portal.system.bench.alert_faults import MAIL_FAULTS, SERVICE_FAULTS, WORKER_FAULTS, Fault
from tests.programs import needed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def mail() -> Iterator[FaultyMailServer]:
    with FaultyMailServer.running() as server:
        yield server


@pytest.fixture(scope="module")
def portal(mail: FaultyMailServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    data = tmp_path_factory.mktemp("alert-faults") / "var"
    with running_portal(data, env={"EMAIL_URL": mail.url}) as running:
        yield running


@pytest.fixture
def ledger(portal: RunningPortal, mail: FaultyMailServer, tmp_path: Path) -> Iterator[AlertLedger]:
    with AlertLedger.running(portal, mail, tmp_path / "ledger", servers=8, pause_s=0.3) as running:
        yield running


def test_nothing_is_lost_when_the_worker_is_killed(
    portal: RunningPortal, mail: FaultyMailServer, ledger: AlertLedger
) -> None:
    # All in one: whoever dies while sending leaves a lease of a minute, for which one wait is enough.
    may_repeat = sum(fault(portal, mail) for fault in WORKER_FAULTS.values())
    ledger.wait_for_mails(4)
    verdict = ledger.end()
    assert verdict.wrong == []
    assert sum(verdict.twice.values()) <= may_repeat


@pytest.mark.parametrize("fault", SERVICE_FAULTS.values(), ids=SERVICE_FAULTS)
def test_nothing_is_lost_when_a_service_goes_away(
    portal: RunningPortal, mail: FaultyMailServer, ledger: AlertLedger, fault: Fault
) -> None:
    may_repeat = fault(portal, mail)
    ledger.wait_for_mails(4)
    verdict = ledger.end()
    assert verdict.wrong == []
    assert sum(verdict.twice.values()) <= may_repeat


def test_nothing_is_lost_when_the_mail_server_misbehaves(
    portal: RunningPortal, mail: FaultyMailServer, ledger: AlertLedger
) -> None:
    may_repeat = sum(fault(portal, mail) for fault in MAIL_FAULTS.values())
    verdict = ledger.end()
    assert verdict.wrong == []
    assert sum(verdict.twice.values()) <= may_repeat


def test_200_crossings_in_a_second_are_400_mails(portal: RunningPortal, mail: FaultyMailServer, tmp_path: Path) -> None:
    with AlertLedger.running(portal, mail, tmp_path / "ledger", servers=100, people=1, pause_s=0) as ledger:
        ledger.tell("down")
        ledger.tell("burst")
        verdict = ledger.end()
    assert verdict.crossings == 400
    assert verdict.wrong == []
    assert verdict.twice == {}


def test_a_refused_address_is_noted_and_the_next_person_is_told(
    portal: RunningPortal, mail: FaultyMailServer, tmp_path: Path
) -> None:
    with AlertLedger.running(portal, mail, tmp_path / "ledger", servers=3, people=2, pause_s=0) as ledger:
        inside(portal, f"Rota.objects.filter(group__name='{ledger.name}').update(rotation='daily')")
        ledger.cross("down", 6)
        (first,) = {kept.receiver for kept in ledger.cross("up", 3)}
        ledger.cross("down", 3)
        mail.mischief = Mischief(answer_to_rcpt="550 5.1.1 No such person", victims=frozenset({first}))
        (second,) = {kept.receiver for kept in ledger.cross("up", 3)}
        ledger.cross("down", 3)
        mail.mischief = Mischief()
        assert second != first
        assert inside(portal, f"Bounce.objects.get(address='{first}').answer").startswith("550")
        assert inside(portal, f"Delivery.objects.filter(address='{first}', status='dead').count()") == 3


def test_a_clock_an_hour_ahead_or_behind_makes_no_storm_and_no_silence(short_folder: Path) -> None:
    needed("faketime")
    clock = Clock(short_folder / "clock")
    with ExitStack() as stack:
        stack.callback(clock.close)
        mail = stack.enter_context(FaultyMailServer.running())
        portal = stack.enter_context(running_portal(short_folder / "var", env={"EMAIL_URL": mail.url, **clock.env}))
        ledger = stack.enter_context(
            AlertLedger.running(portal, mail, short_folder / "ledger", servers=5, pause_s=0, env=clock.env)
        )
        for ahead_s in (3600, 0, -3600, 0):
            clock.set(ahead_s)
            time.sleep(2)  # the processes look once a second
            ledger.cross("down", 10)
            ledger.cross("up", 10)
        verdict = ledger.end()
    assert verdict.crossings == 5 * 10
    assert verdict.wrong == []
    assert verdict.twice == {}
