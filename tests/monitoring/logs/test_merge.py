"""Blocks are merged, and nobody notices: the same lines, each once, and as many as were counted."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from monitoring.logs import counts, merge, read
from monitoring.logs.ask import Ask
from monitoring.logs.line import Level, Line
from monitoring.logs.merge import merge_due
from monitoring.logs.record import record
from monitoring.models import LogBlock, LogSieve
from tests.monitoring.logs.conftest import SECOND_NS, kept

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]
Make = Callable[..., Line]


def merged(**said: int) -> int:
    """Merge what is there, as if it had rested."""
    return merge_due(timezone.now() + timedelta(minutes=1), **said)


def tiers() -> list[int]:
    return sorted(LogBlock.objects.values_list("tier", flat=True))


def counted(now_ns: int) -> int:
    now_ms = now_ns // 1_000_000
    return sum(counts.totals(Ask(), servers=None, start_ms=now_ms - 86_400_000, end_ms=now_ms + 600_000).values())


def test_pushed_blocks_become_one_that_is_sorted(line: Make) -> None:
    for ago in (5, 9, 1):
        record([line(f"{ago}", ago_s=ago), line(f"{ago + 10}", ago_s=ago + 10)], origin="test")
    before = kept()
    assert merged() == 6
    assert tiers() == [1]
    assert kept() == before


def test_what_was_pushed_just_now_stays_as_it_is(line: Make) -> None:
    record([line()], origin="test")
    assert merge_due(timezone.now()) == 0
    assert tiers() == [0]


def test_lines_of_one_instant_are_told_apart_by_what_they_say(line: Make, now_ns: int) -> None:
    told = [line(f"text {number % 50}", at_ns=now_ns, source=f"s{number % 3}") for number in range(300)]
    record(told, origin="test")
    merged()
    assert {(found.text, found.source) for found in kept()} == {(one.text, one.source) for one in told}
    assert len(kept()) == counted(now_ns) == 150


def test_what_is_sent_again_in_another_body_is_shown_and_counted_once(line: Make, now_ns: int) -> None:
    lines = [line(f"number {ago}", ago_s=ago) for ago in range(20)]
    record(lines[:12], origin="test")
    record(lines[8:], origin="test")
    merged()
    record(lines[4:16], origin="test")
    merged()
    assert [found.text for found in kept()] == [one.text for one in reversed(lines)]
    assert counted(now_ns) == 20


def test_late_lines_that_merged_blocks_have_are_dropped(
    line: Make, now_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "LINES_A_BLOCK", 10)
    monkeypatch.setattr("monitoring.logs.columns.LINES_A_BLOCK", 10)
    lines = [line(f"number {ago}", ago_s=ago) for ago in range(100)]
    record(lines, origin="test")
    merged()
    assert tiers() == [1] * 10
    record([*lines[3::7], line("another", ago_s=50)], origin="test")
    merged()
    assert (len(kept()), counted(now_ns)) == (101, 101)


def test_a_push_of_which_everything_is_known_leaves_what_was(line: Make, now_ns: int) -> None:
    lines = [line(f"number {ago}", ago_s=ago) for ago in range(1000)]
    record(lines, origin="test")
    merged()
    record(lines[100:200], origin="test")
    merged()
    assert tiers() == [1]
    assert (len(kept()), counted(now_ns)) == (1000, 1000)


def test_many_full_blocks_get_a_sieve(line: Make, now_ns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "LINES_A_BLOCK", 10)
    monkeypatch.setattr("monitoring.logs.columns.LINES_A_BLOCK", 10)
    lines = [line(f"number {ago}", ago_s=ago / 10) for ago in range(1000)]
    random.shuffle(lines)
    for start in range(0, 1000, 100):
        record(lines[start : start + 100], origin="test")
        merged()
    (sieve,) = LogSieve.objects.all()
    assert tiers() == [1] * 36 + [2] * 64
    assert sieve.block_ids == list(
        LogBlock.objects.filter(sieve_id=sieve.id).order_by("first_ns").values_list("id", flat=True)
    )
    assert [found.text for found in kept()] == [f"number {ago}" for ago in reversed(range(1000))]
    assert counted(now_ns) == 1000


def test_a_day_that_is_over_is_found_by_sieves_to_its_end(
    line: Make, now_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.logs.columns.LINES_A_BLOCK", 10)
    record([line(f"number {number}", ago_s=2 * 86_400 + number) for number in range(95)], origin="test")
    merged()
    assert tiers() == [2] * LogBlock.objects.count()
    assert len(kept()) == 95


def test_what_comes_late_to_a_day_that_is_over_leaves_one_sieve_that_is_not_full(
    line: Make, now_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.logs.columns.LINES_A_BLOCK", 10)
    noon_s = now_ns // 10**9 % 86_400 + 86_400 + 43_200  # ago
    for push in range(3):
        record([line(f"{push} {number}", ago_s=noon_s + 3 * number + push) for number in range(95)], origin="test")
        merged()
    (sieve,) = LogSieve.objects.all()
    assert set(sieve.block_ids) == set(LogBlock.objects.values_list("id", flat=True))
    assert len(kept()) == 3 * 95


def test_a_block_of_long_lines_has_fewer_of_them(line: Make) -> None:
    record([line(f"{number} " + "x" * 60_000, ago_s=number) for number in range(40)], origin="test")
    merged()
    assert LogBlock.objects.count() == 3
    assert len(kept()) == 40


def test_counts_are_by_minute_level_server_and_source(line: Make, now_ns: int) -> None:
    minute_ns = now_ns // (60 * SECOND_NS) * 60 * SECOND_NS
    for number in range(3):
        record(
            [
                line(f"{number} a", at_ns=minute_ns, level=Level.ERROR),
                line(f"{number} b", at_ns=minute_ns - 1, source="other"),
            ],
            origin="test",
        )
        if number:
            merged()
    start_ms = minute_ns // 1_000_000 - 120_000
    seen = counts.histogram(Ask(), servers=None, start_ms=start_ms, end_ms=start_ms + 180_000)
    assert (seen.step_ms, seen.start_ms) == (60_000, start_ms)
    assert (seen.per_level[Level.ERROR], seen.per_level[Level.INFO]) == ([0, 0, 3], [0, 3, 0])
    assert counts.sources(Ask(), servers=None, start_ms=start_ms, end_ms=start_ms + 180_000) == [
        ("app", 3),
        ("other", 3),
    ]
    assert (
        counts.totals(
            Ask(sources=frozenset({"app"})), servers=frozenset(), start_ms=start_ms, end_ms=start_ms + 180_000
        )[Level.ERROR]
        == 0
    )


def test_a_count_that_a_merge_overtakes_is_taken_again(
    line: Make, now_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    record([line()], origin="test")
    blocks = read.blocks

    def overtaken(keys: list[read.Key]) -> dict[int, read.Block]:
        merged()
        return blocks(keys)

    monkeypatch.setattr(read, "blocks", overtaken)
    assert counted(now_ns) == 1
