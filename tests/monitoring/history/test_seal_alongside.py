"""Sealing beside readers and writers, and killed for real."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
from django.db import connection, connections
from django.utils import timezone

from monitoring.history import horizon, partitions
from monitoring.history.compact import compact_due
from monitoring.history.frame import Frame, SeriesName
from monitoring.history.late import merge_late
from monitoring.history.read import read
from monitoring.history.record import record
from monitoring.history.seal import seal_due
from monitoring.models import Batch, Chunk, LateFrame, Server
from portal.system.bench._sealing import WHILE_COMPACTING, WHILE_SEALING, killed_at
from portal.toolkit.instants import from_ms
from tests.monitoring.history.conftest import DAY_MS

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_redis", "committed_history")]

HOUR_MS = partitions.HOUR_MS
NAMES = [SeriesName("cpu"), SeriesName("memory")]


def fill(server: Server, start_ms: int, hours: range, every_ms: int = 30_000) -> None:
    instants = range(start_ms + hours.start * HOUR_MS, start_ms + hours.stop * HOUR_MS, every_ms)
    record([Frame.of(server.pk, at, {"cpu": at / 1000 % 97, "memory": at / 1000 % 89}) for at in instants], origin="t")
    Batch.objects.update(evaluated_at=timezone.now())


def is_whole(server: Server, start_ms: int, hours: range, every_ms: int = 30_000) -> bool:
    """Whether every sample of `fill` is there once."""
    instants = np.arange(start_ms + hours.start * HOUR_MS, start_ms + hours.stop * HOUR_MS, every_ms)
    tracks = read(server.pk, NAMES, int(instants[0]), start_ms + hours.stop * HOUR_MS)
    expected = [instants / 1000 % 97, instants / 1000 % 89]
    return np.array_equal(tracks.at_ms, instants) and np.array_equal(tracks.values, expected)


def test_readers_see_every_sample_once_while_hours_are_sealed_merged_and_compacted(server: Server, past: int) -> None:
    hours = range(24)
    fill(server, past, hours)
    done = threading.Event()

    def look() -> int:
        try:
            looks = 0
            while not done.is_set() or looks < 3:
                assert is_whole(server, past, hours)
                looks += 1
            return looks
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(look) for _ in range(2)]
        try:
            for hour in hours:
                seal_due(from_ms(past + (hour + 1) * HOUR_MS + horizon.GRACE_MS))
            compact_due(timezone.now())
        finally:
            done.set()
        assert all(reader.result(60) >= 3 for reader in readers)
    assert is_whole(server, past, hours)
    assert partitions.existing() == []


def test_what_is_recorded_while_hours_are_sealed_is_kept(make_server: Callable[..., Server], past: int) -> None:
    servers = [make_server(f"s{number}") for number in range(4)]
    for server in servers:
        fill(server, past, range(6), every_ms=60_000)
    expected = {server.pk: {} for server in servers}

    def send(server: Server) -> None:
        try:
            for number in range(120):
                at = past + (number * 7 % 360) * 60_000 + 1 + number
                record([Frame.of(server.pk, at, {"cpu": float(number)})], origin="t")
                expected[server.pk][at] = float(number)
        finally:
            Batch.objects.update(evaluated_at=timezone.now())
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        sending = [pool.submit(send, server) for server in servers]
        for hour in range(6):
            Batch.objects.update(evaluated_at=timezone.now())
            seal_due(from_ms(past + (hour + 1) * HOUR_MS + horizon.GRACE_MS + 2 * HOUR_MS))
            merge_late()
        for one in sending:
            one.result(60)
    seal_due(from_ms(past + DAY_MS))
    merge_late()
    assert (partitions.existing(), LateFrame.objects.count()) == ([], 0)
    for server in servers:
        tracks = read(server.pk, NAMES[:1], past, past + DAY_MS)
        found = dict(zip(tracks.at_ms.tolist(), tracks.values[0].tolist(), strict=True))
        assert {at: found.get(at) for at in expected[server.pk]} == expected[server.pk]
        assert sum(not np.isnan(value) for value in found.values()) == 360 + 120


def test_a_second_sealer_leaves_at_once(server: Server, past: int) -> None:
    fill(server, past, range(1))

    def seal() -> list[int]:
        try:
            return seal_due(from_ms(past + DAY_MS))
        finally:
            connections.close_all()

    with horizon.alone() as alone, ThreadPoolExecutor(1) as pool:
        assert alone
        assert pool.submit(seal).result(30) == []
    assert seal() == [past // HOUR_MS]


def test_a_long_read_of_an_hour_delays_its_seal_and_no_sender(server: Server, past: int) -> None:
    fill(server, past, range(2))
    with ThreadPoolExecutor(1) as pool:
        with reading(past):
            sealing = pool.submit(sealed, past)
            now_ms = int(timezone.now().timestamp() * 1000)
            took_s = []
            for number in range(20):
                began = time.perf_counter()
                record([Frame.of(server.pk, now_ms + number, {"cpu": 1.0})], origin="t")
                Batch.objects.update(evaluated_at=timezone.now())
                took_s.append(time.perf_counter() - began)
                time.sleep(0.02)
            assert not sealing.done()
            assert max(took_s) < partitions.LOCK_TIMEOUT_MS / 1000
        assert sealing.result(30) == [past // HOUR_MS, past // HOUR_MS + 1]


def sealed(past: int) -> list[int]:
    try:
        return seal_due(from_ms(past + DAY_MS))
    finally:
        connections.close_all()


@contextmanager
def reading(past: int) -> Iterator[None]:
    """A transaction of somebody else that has read the hour and is not over."""
    other = connections.create_connection("default")
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM monitoring_frame WHERE at < %s", [from_ms(past + HOUR_MS)])
        yield
    finally:
        other.rollback()
        other.close()


@pytest.mark.parametrize(
    ("module", "name", "work"),
    [*((*step, "seal") for step in WHILE_SEALING), *((*step, "compact") for step in WHILE_COMPACTING)],
)
def test_two_kills_lose_and_double_nothing(server: Server, past: int, module: str, name: str, work: str) -> None:
    """The second one kills who cleans up after the first."""
    hours = range(24 if work == "compact" else 2)
    fill(server, past, hours, every_ms=300_000)
    if work == "compact":
        seal_due(from_ms(past + 2 * DAY_MS))
    for _ in range(2):
        assert killed_at(module, name, work, past + 2 * DAY_MS, database_of_the_tests())
        assert is_whole(server, past, hours, every_ms=300_000)
    fill(server, past, range(hours.stop, hours.stop + 1), every_ms=300_000)
    seal_due(from_ms(past + 2 * DAY_MS))
    merge_late()
    compact_due(timezone.now())
    assert is_whole(server, past, range(hours.stop + 1), every_ms=300_000)
    assert (partitions.existing(), LateFrame.objects.count()) == ([], 0)
    assert Chunk.objects.filter(starts_at__lt=from_ms(past + DAY_MS)).count() == 2


def database_of_the_tests() -> dict[str, str]:
    """The address of the database that the tests made, for another process."""
    url = urlsplit(os.environ["DATABASE_URL"])
    return {"DATABASE_URL": url._replace(path=f"/{connection.settings_dict['NAME']}").geturl()}
