from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

from monitoring.history import partitions_by_day
from monitoring.logs import read, retention
from monitoring.logs.line import KeptLine, Level, Line
from monitoring.models import LogBlock, Server

SECOND_NS = 1_000_000_000


@pytest.fixture(autouse=True)
def nothing_known_of_logs() -> None:
    """Tests roll back what they made, so what this process remembers of it must go too."""
    read.forget()
    retention.forget()


@pytest.fixture
def now_ns() -> int:
    return time.time_ns()


@pytest.fixture
def line(server: Server, now_ns: int) -> Callable[..., Line]:
    """A line of `server`, `ago_s` before now."""

    def make(text: str = "it works", *, ago_s: float = 60, **said: Any) -> Line:
        at_ns = now_ns - int(ago_s * SECOND_NS)
        return Line(server.pk, at_ns, Level.INFO, "app", text)._replace(**said)

    return make


def kept() -> list[KeptLine]:
    """Every line of every block, by position."""
    keys = list(LogBlock.objects.values_list("day", "id"))
    return sorted(block.line(index) for block in read.blocks(keys).values() for index in range(block.count))


def empty_logs() -> None:
    """As if no line had ever come."""
    with connection.cursor() as cursor:
        for day in partitions_by_day.existing("monitoring_logcount"):
            partitions_by_day.drop(("monitoring_logblock_merged", "monitoring_logsieve", "monitoring_logcount"), day)
        cursor.execute("TRUNCATE monitoring_logblock_pushed, monitoring_logpush, monitoring_logmerge")


@pytest.fixture
def committed_logs(transactional_db: None) -> Iterator[None]:
    """For tests that commit: the tables of logs are none that Django empties."""
    empty_logs()
    yield
    empty_logs()
