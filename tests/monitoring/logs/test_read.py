"""Blocks that were unpacked stay in memory, for a while and up to a size."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from monitoring.logs import read
from monitoring.logs.line import Line
from monitoring.logs.record import record
from monitoring.models import LogBlock

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis")]
Make = Callable[..., Line]


def keys(line: Make, count: int) -> list[read.Key]:
    for number in range(count):
        record([line(f"{number} " + "words " * 1000)], origin="test")
    return list(LogBlock.objects.order_by("id").values_list("day", "id"))


def queries_of(asked: list[read.Key]) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert set(read.blocks(asked)) == {block_id for _, block_id in asked}
    return len(queries)


def test_what_is_in_memory_is_not_asked_for_again(line: Make) -> None:
    all_of_them = keys(line, 3)
    assert [queries_of(all_of_them[:2]), queries_of(all_of_them), queries_of(all_of_them)] == [1, 1, 0]


def test_a_block_that_is_gone_is_missing(line: Make) -> None:
    (day, block_id), _ = keys(line, 2)
    assert set(read.blocks([(day, block_id), (day, block_id + 1_000)])) == {block_id}


def test_what_was_asked_for_longest_ago_leaves_memory(line: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = keys(line, 3)
    monkeypatch.setattr(read, "_shelf", read._Shelf(45_000))
    for key in (first, second, first, third):
        read.blocks([key])
    assert [queries_of([key]) for key in (third, first)] == [0, 0]
    assert queries_of([second]) == 1
