"""Whatever is killed, at a random moment and under load: it heals by itself and no acknowledged sample is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.embedded.running import RunningPortal, running_portal
from portal.system.bench._ledger import HEALED_WITHIN_S, Ledger, inside
from portal.system.bench.faults import CHILDREN, kill_and_heal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def portal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPortal]:
    with running_portal(tmp_path_factory.mktemp("faults") / "var", servers=30) as running:
        yield running


@pytest.fixture
def ledger(portal: RunningPortal, tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(portal, tmp_path / "ledger")
    yield opened
    opened.close()


@pytest.mark.parametrize("child", CHILDREN)
def test_a_killed_child_comes_back_and_nothing_acknowledged_is_lost(
    portal: RunningPortal, ledger: Ledger, child: str
) -> None:
    assert kill_and_heal(portal, ledger, child) < HEALED_WITHIN_S
    ledger.close()
    assert ledger.missing() == []


def test_everything_killed_at_once_and_started_again_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    data = tmp_path / "var"
    first = RunningPortal.start(data, servers=3)
    ledger = Ledger.open(first, tmp_path / "ledger")
    first.kill_all()
    ledger.close()
    with running_portal(data, servers=3) as second:
        ledger.portal = second
        assert ledger.missing() == []
        assert inside(second, "Server.objects.filter(simulated=True).count()") == 3
