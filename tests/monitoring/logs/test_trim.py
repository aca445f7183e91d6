"""Lines leave when their group keeps them no longer; nobody sees them from then on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from monitoring.logs import counts, retention, tables
from monitoring.logs.ask import Ask
from monitoring.logs.line import Line
from monitoring.logs.merge import merge_due
from monitoring.logs.record import record
from monitoring.logs.trim import forget_old_lines
from monitoring.models import LogBlock, LogSieve, Retention, Server, ServerGroup
from tests.monitoring.logs.conftest import kept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]
Make = Callable[..., Line]

DAY_S = 86_400
DAYS = {"samples_days": 30, "minutes_days": 90, "quarters_days": 400, "hours_days": 1826}


@pytest.fixture
def brief(db: None) -> Server:
    """A server whose group keeps lines for two days."""
    group = ServerGroup.objects.create(name="Brief")
    Retention.objects.create(group=group, **DAYS, logs_days=2)
    return Server.objects.create(name="brief", group=group)


def merged() -> None:
    merge_due(timezone.now() + timedelta(minutes=1))


def counted_servers(now_ns: int) -> dict[int, int]:
    now_ms = now_ns // 1_000_000
    return counts.servers_counted(Ask(), servers=None, start_ms=now_ms - 60 * DAY_S * 1000, end_ms=now_ms)


def test_a_day_that_nobody_keeps_leaves_as_a_whole(line: Make) -> None:
    record([line("old", ago_s=20 * DAY_S), line("young", ago_s=5 * DAY_S)], origin="test")
    merged()
    Retention.objects.create(group=None, **DAYS, logs_days=10)
    dropped = forget_old_lines(timezone.now())
    assert len(dropped) == 1
    assert dropped[0] not in tables.days()
    assert [found.text for found in kept()] == ["young"]


def test_what_was_never_merged_leaves_too(line: Make) -> None:
    record([line("old", ago_s=20 * DAY_S), line("young", ago_s=5 * DAY_S)], origin="test")
    Retention.objects.create(group=None, **DAYS, logs_days=10)
    forget_old_lines(timezone.now())
    assert [found.text for found in kept()] == ["young"]


def test_lines_of_a_group_that_keeps_less_leave_blocks_that_stay(
    line: Make, brief: Server, server: Server, now_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.logs.columns.LINES_A_BLOCK", 10)
    both = [
        line(f"{number}", ago_s=5 * DAY_S + number, server_id=pk)
        for number in range(60)
        for pk in (server.pk, brief.pk)
    ]
    Retention.objects.update(logs_days=10)
    record(both, origin="test")
    merged()
    Retention.objects.update(logs_days=2)
    forget_old_lines(timezone.now())
    assert {(found.server_id, found.text) for found in kept()} == {(server.pk, f"{number}") for number in range(60)}
    retention.forget()
    assert counted_servers(now_ns) == {server.pk: 60}
    known = {block_id for sieve in LogSieve.objects.all() for block_id in sieve.block_ids}
    assert known == set(LogBlock.objects.values_list("id", flat=True))


def test_lines_of_a_server_that_is_gone_leave(line: Make, brief: Server, server: Server, now_ns: int) -> None:
    record([line("of the other", server_id=brief.pk), line("of this one")], origin="test")
    merged()
    brief.delete()
    forget_old_lines(timezone.now())
    assert [found.text for found in kept()] == ["of this one"]
    assert counted_servers(now_ns) == {server.pk: 1}


def test_what_is_too_old_is_refused_by_the_rule_of_its_group(line: Make, brief: Server) -> None:
    result = record([line(ago_s=3 * DAY_S, server_id=brief.pk), line(ago_s=3 * DAY_S)], origin="test")
    assert [(refusal.index, refusal.reason) for refusal in result.refused] == [
        (0, "older than the retention of 2 days")
    ]


def test_floors_are_the_longest_and_of_servers_that_keep_less_their_own(brief: Server, server: Server) -> None:
    now_ns = 100 * retention.DAY_NS
    assert retention.floors(now_ns) == (70 * retention.DAY_NS, {brief.pk: 98 * retention.DAY_NS})
    Retention.objects.create(group=None, **DAYS, logs_days=1)
    retention.forget()
    assert retention.floors(now_ns) == (98 * retention.DAY_NS, {server.pk: 99 * retention.DAY_NS})


def test_counts_leave_out_what_is_too_old_before_it_has_left(
    line: Make, brief: Server, server: Server, now_ns: int
) -> None:
    Retention.objects.update(logs_days=10)
    record([line(ago_s=3 * DAY_S, server_id=brief.pk), line(ago_s=3 * DAY_S)], origin="test")
    merged()
    Retention.objects.update(logs_days=2)
    assert counted_servers(now_ns) == {server.pk: 1}
