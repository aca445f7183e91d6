"""What simulated servers write: the same again for the same numbers, and of trouble when there is trouble."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import pytest
from django.utils import timezone

from monitoring.history.frame import Frame, SeriesName
from monitoring.logs.levels import level_in
from monitoring.logs.line import MAX_SOURCE, Level, Line
from monitoring.models import LogBlock, Server, ServerGroup, ServerTemplate
from monitoring.simulation.fleet import _fleet, ensure_fleet, fleet_frames, simulate_due
from monitoring.simulation.lines import MOST_AT_ONCE, fleet_lines, server_lines
from monitoring.simulation.templates import TEMPLATES, ensure_templates

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]

NOON_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 12 * 3_600_000
MINUTES = range(NOON_MS, NOON_MS + 600_000, 5_000)


@pytest.fixture
def templates() -> dict[str, ServerTemplate]:
    return ensure_templates()


def frame(template: ServerTemplate, at_ms: int = NOON_MS, server_id: int = 7, **metrics: float) -> Frame:
    """As usual, but for these metrics."""
    reading = {metric: parts["base"] for metric, parts in template.profile.items()} | metrics
    return Frame(server_id, at_ms, tuple(map(SeriesName, reading)), np.array(list(reading.values())))


def written(template: ServerTemplate, **metrics: float) -> list[Line]:
    """In ten minutes."""
    return [line for at_ms in MINUTES for line in server_lines(template, frame(template, at_ms, **metrics))]


def levels(lines: Iterable[Line]) -> Counter[Level]:
    return Counter(line.level for line in lines)


@pytest.mark.parametrize("name", [template.name for template in TEMPLATES])
def test_a_server_that_is_well_writes_of_its_work(templates: dict[str, ServerTemplate], name: str) -> None:
    lines = written(templates[name])
    assert len(lines) == len(MINUTES)
    assert levels(lines)[Level.ERROR] < len(lines) / 10
    assert all(0 < len(line.source) <= MAX_SOURCE and line.text.strip() for line in lines)


def test_the_same_numbers_have_the_same_lines_and_others_have_others(templates: dict[str, ServerTemplate]) -> None:
    one, again, other = (written(templates["app"], **some) for some in ({}, {}, {"cpu": 99.0}))
    assert one == again
    assert one != other


def test_two_servers_write_different_things(templates: dict[str, ServerTemplate]) -> None:
    first, second = (list(server_lines(templates["web"], frame(templates["web"], server_id=pk))) for pk in (1, 2))
    assert [line.text for line in first] != [line.text for line in second]


@pytest.mark.parametrize(
    ("name", "metric", "value", "words"),
    [
        ("web", "memory", 97.0, "Out of memory: Killed process"),
        ("app", "memory", 97.0, "OutOfMemoryError"),
        ("storage", "disk", 97.0, "No space left on device"),
        ("database", "disk", 97.0, "could not write to file"),
        ("database", "query_time", 60.0, "duration: "),
        ("database", "db_connections", 900.0, "too many clients already"),
        ("database", "db_locks", 30.0, "deadlock detected"),
        ("web", "response_p95", 2_000.0, "upstream timed out"),
        ("app", "response_p95", 2_000.0, "시간이 초과되었습니다"),
        ("load-balancer", "error_rate", 30.0, "is DOWN"),
        ("cache", "evictions", 90.0, "maxmemory reached"),
        ("queue", "queue_depth", 2_000.0, "publishers are blocked"),
        ("web", "cpu", 97.0, "CPU at 97%"),
    ],
)
def test_the_line_that_explains_the_spike_is_there(
    templates: dict[str, ServerTemplate], name: str, metric: str, value: float, words: str
) -> None:
    usual, wrong = written(templates[name]), written(templates[name], **{metric: value})
    assert not any(words in line.text and line.level >= Level.WARNING for line in usual)
    assert any(words in line.text and line.level is Level.ERROR for line in wrong)
    bad = levels(wrong)[Level.ERROR] + levels(wrong)[Level.WARNING]
    assert bad > 3 * (levels(usual)[Level.ERROR] + levels(usual)[Level.WARNING])


def test_the_worse_it_is_the_more_is_written_of_it(templates: dict[str, ServerTemplate]) -> None:
    counts = [len(written(templates["web"], cpu=cpu)) for cpu in (40.0, 86.0, 97.0)]
    assert counts == sorted(counts)
    assert counts[2] == 3 * counts[0]


def test_lines_are_of_the_five_seconds_before_and_tell_their_time(templates: dict[str, ServerTemplate]) -> None:
    for line in written(templates["web"]):
        assert (NOON_MS - 5_000) * 1_000_000 <= line.at_ns < MINUTES[-1] * 1_000_000
        if line.source == "nginx":
            said = re.search(r"\[(.+?) \+0000\]", line.text)
            assert said is not None
            told = datetime.strptime(said[1], "%d/%b/%Y:%H:%M:%S").replace(tzinfo=UTC)
            assert int(told.timestamp()) == line.at_ns // 10**9


def test_what_a_line_says_of_its_level_is_its_level(templates: dict[str, ServerTemplate]) -> None:
    for line in written(templates["app"], response_p95=900.0):
        if line.source == "shop" and line.text.startswith("{"):
            assert level_in(line.text) is line.level


def test_some_lines_are_korean(templates: dict[str, ServerTemplate]) -> None:
    korean = [line for line in written(templates["app"]) if re.search("[가-힣]", line.text)]
    assert len(korean) >= 5


def test_a_server_writes_about_a_line_each_seven_seconds(group: ServerGroup) -> None:
    ensure_fleet(30, group)
    fleet = _fleet()
    by_id = {pk: template for template, ids in fleet for pk in ids}
    frames = [each for at_ms in MINUTES for each in fleet_frames(fleet, at_ms)]
    lines = fleet_lines((by_id[each.server_id], each) for each in frames)
    assert 0.6 < len(lines) / len(frames) < 0.9
    assert {line.server_id for line in lines} == set(by_id)


def test_a_huge_fleet_writes_no_more_than_it_may(templates: dict[str, ServerTemplate]) -> None:
    web = templates["web"]
    lines = fleet_lines((web, frame(web, server_id=pk)) for pk in range(1, 8_001))
    assert 0.9 * MOST_AT_ONCE < len(lines) < 1.1 * MOST_AT_ONCE


def test_the_simulation_records_its_lines(group: ServerGroup) -> None:
    ensure_fleet(5, group)
    simulate_due(timezone.now())
    blocks = LogBlock.objects.filter(origin="simulation")
    assert sum(block.count for block in blocks) > 300
    assert {pk for block in blocks for pk in block.servers} == set(Server.objects.values_list("pk", flat=True))
