"""CPU, memory, disk and network of hosts that push what exporters show, however the requests cut an instant."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring.history.frame import SeriesName, canonical_labels
from monitoring.history.read import read
from monitoring.ingest import derive
from monitoring.ingest.door import take
from monitoring.ingest.points import Points, PointSeries
from monitoring.models import PushToken, Server
from portal.toolkit import redis
from tests.monitoring.ingest.conftest import forget_all

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("empty_redis", "nothing_derived")]

NOW_MS = int(time.time()) * 1000 - 300_000
EVERY_MS = 15_000
GIB = 1 << 30
JOB = {"instance": "web-1:9100", "job": "node"}

Raw = tuple[str, dict[str, str], float]


@pytest.fixture
def nothing_derived() -> Iterator[None]:
    derive.forget()
    yield
    derive.forget()


def machine(run: int, *, busy: float = 0.25) -> list[Raw]:
    """What node_exporter shows at its `run`-th run: two cores, each busy by that share of the time."""
    seconds = run * EVERY_MS / 1000
    root = {"device": "/dev/sda1", "fstype": "ext4", "mountpoint": "/"}
    return [
        *(("node_cpu_seconds_total", {"cpu": core, "mode": "idle"}, 900 + seconds * (1 - busy)) for core in "01"),
        *(("node_cpu_seconds_total", {"cpu": core, "mode": "user"}, 100 + seconds * busy) for core in "01"),
        ("node_memory_MemTotal_bytes", {}, 8.0 * GIB),
        ("node_memory_MemAvailable_bytes", {}, 2.0 * GIB),
        ("node_filesystem_size_bytes", root, 100.0 * GIB),
        ("node_filesystem_free_bytes", root, 40.0 * GIB),
        ("node_filesystem_avail_bytes", root, 40.0 * GIB),
        ("node_network_receive_bytes_total", {"device": "eth0"}, 1024.0 * seconds),
        ("node_load1", {}, 0.5),
    ]


MEASURED = {"cpu": 25.0, "memory": 75.0, "disk": 60.0, "net_rx": 1.0, "load1": 0.5}


def points_of(rows: Sequence[tuple[int, Raw]], job: dict[str, str] = JOB) -> Points:
    """`rows` are (run, sample)."""
    series = [
        PointSeries("web-1", SeriesName(name, canonical_labels(labels | job))) for _run, (name, labels, _) in rows
    ]
    return Points(
        series=series,
        which=np.arange(len(rows)),
        at_ms=np.array([NOW_MS + run * EVERY_MS for run, _raw in rows], np.int64),
        values=np.array([value for _run, (_name, _labels, value) in rows]),
        counters={name for _run, (name, _labels, _value) in rows if name.endswith("_total")},
    )


def send(token: PushToken, rows: Sequence[tuple[int, Raw]], job: dict[str, str] = JOB) -> None:
    points = points_of(rows, job)
    take(points, token, origin="test")
    derive.derive(points, token)


def send_runs(token: PushToken, *runs: int) -> None:
    for run in runs:
        send(token, [(run, raw) for raw in machine(run)])


def derived(run: int, names: Sequence[str] = tuple(MEASURED)) -> dict[str, float]:
    """The catalogue's metrics that the server has at a run."""
    at_ms = NOW_MS + run * EVERY_MS
    tracks = read(Server.objects.get(name="web-1").pk, [SeriesName(name) for name in names], at_ms, at_ms + 1)
    found = zip(names, tracks.values.tolist(), strict=True)
    return {name: values[0] for name, values in found if values and values[0] == values[0]}


def test_the_second_instant_tells_the_catalogues_metrics(token: PushToken) -> None:
    send_runs(token, 0, 1)
    assert derived(0) == {}
    assert derived(1) == MEASURED


def test_what_comes_in_parts_is_told_when_all_has_come(token: PushToken) -> None:
    send_runs(token, 0, 1)
    rows = [(2, raw) for raw in machine(2)]
    send(token, rows[:3])
    assert derived(2) == {}
    send(token, rows[3:5])
    assert derived(2) == {"cpu": 25.0}
    send(token, rows[5:])
    assert derived(2) == MEASURED


def test_shards_that_run_ahead_of_each_other_tell_nothing_wrong(token: PushToken) -> None:
    send_runs(token, 0, 1)
    idle, rest = slice(0, 2), slice(2, None)
    for run in (2, 3):
        send(token, [(run, raw) for raw in machine(run)[idle]])
    assert derived(2) == derived(3) == {}
    for run in (2, 3):
        send(token, [(run, raw) for raw in machine(run)[rest]])
    assert derived(2) == derived(3) == MEASURED


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_cut_of_the_instants_tells_the_same(token: PushToken, data: st.DataObject) -> None:
    Server.objects.all().delete()
    redis.client().flushdb()
    forget_all()
    send_runs(token, 0, 1)
    rows = [(run, raw) for run in (2, 3) for raw in machine(run)]
    # Any order between shards, the order of time within each.
    shard_of = data.draw(st.lists(st.integers(0, 2), min_size=len(machine(2)), max_size=len(machine(2))))
    shards = [[row for row, shard in zip(rows, chain(shard_of, shard_of), strict=True) if shard == n] for n in range(3)]
    while any(shards):
        shard = data.draw(st.sampled_from([shard for shard in shards if shard]))
        size = data.draw(st.integers(1, len(shard)))
        send(token, shard[:size])
        del shard[:size]
    assert derived(2) == derived(3) == MEASURED


def test_a_repetition_changes_nothing(token: PushToken) -> None:
    send_runs(token, 0, 1, 1, 2, 1)
    assert derived(1) == derived(2) == MEASURED


def test_the_first_value_of_a_series_stays_also_for_what_is_derived(token: PushToken) -> None:
    send_runs(token, 0)
    rows = [(1, raw) for raw in machine(1)]
    send(token, [row for row in rows if "Total" not in row[1][0]])
    send(token, [(1, ("node_memory_MemAvailable_bytes", {}, 0.0))])
    send(token, [row for row in rows if "Total" in row[1][0]])
    assert derived(1)["memory"] == 75.0


def test_a_series_that_has_gone_holds_up_its_group_for_a_while_only(token: PushToken) -> None:
    send_runs(token, 0, 1)
    for run in range(2, 6):
        send(token, [(run, raw) for raw in machine(run) if raw[1].get("cpu") != "1"])
    assert [derived(run).get("cpu") for run in range(1, 6)] == [25.0, None, None, None, 25.0]
    assert all(derived(run)["memory"] == 75.0 for run in range(1, 6))


def test_a_counter_that_starts_again_is_reckoned_from_zero(token: PushToken) -> None:
    name = "node_network_receive_bytes_total"
    for run, value in enumerate((1024.0 * 900, 1024.0 * 915, 1024.0 * 30)):
        send(token, [(run, (name, {"device": "eth0"}, value))])
    assert [derived(run).get("net_rx") for run in range(3)] == [None, 1.0, 2.0]


def test_another_process_knows_the_series_by_their_names(token: PushToken) -> None:
    send_runs(token, 0, 1)
    rows = [(2, raw) for raw in machine(2)]
    send(token, rows[:3])
    derive.forget()
    send(token, rows[3:])
    assert derived(2) == MEASURED


def test_of_two_exporters_that_show_the_same_one_counts(token: PushToken) -> None:
    other = {"instance": "web-1:9101", "job": "copy"}
    for run in range(3):
        send_runs(token, run)
        send(token, [(run, raw) for raw in machine(run, busy=0.75)], other)
    assert [derived(run).get("cpu") for run in (1, 2)] == [25.0, 25.0]


def test_without_redis_what_is_pushed_is_kept(token: PushToken, monkeypatch: pytest.MonkeyPatch) -> None:
    send_runs(token, 0)

    def away() -> object:
        raise ConnectionError

    monkeypatch.setattr(redis, "client", away)
    send_runs(token, 1)
    monkeypatch.undo()
    assert derived(1) == {}
    names = [SeriesName("node_load1", canonical_labels(JOB))]
    tracks = read(Server.objects.get(name="web-1").pk, names, NOW_MS, NOW_MS + 2 * EVERY_MS)
    assert tracks.values.tolist() == [[0.5, 0.5]]


def test_numbers_that_no_machine_has_break_nothing(token: PushToken) -> None:
    for run in (0, 1):
        rows = [(name, labels, 1.7e308 * run) for name, labels, _value in machine(run)]
        send(token, [(run, raw) for raw in rows])
    assert "cpu" not in derived(1)
    assert derived(1)["load1"] == 1.7e308


def test_series_that_feed_nothing_cost_no_round_trip(token: PushToken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis, "client", None)
    derive.derive(points_of([(0, ("somebodys_metric", {}, 1.0))]), token)


def test_a_host_that_the_token_may_not_send_for_gets_nothing(token: PushToken, elsewhere: Server) -> None:
    points = points_of([(run, raw) for run in (0, 1) for raw in machine(run)])
    points.series = [PointSeries(elsewhere.name, name) for _host, name in points.series]
    derive.derive(points, token)
    assert not redis.client().keys("derive:*")


@pytest.fixture
def elsewhere(db: None) -> Server:
    from monitoring.models import ServerGroup

    return Server.objects.create(name="theirs", group=ServerGroup.objects.create(name="Elsewhere"))


OTEL = {"service.name": "collector"}


def otel_machine(run: int) -> list[Raw]:
    """What the collector's hostmetrics receiver sends of the same machine."""
    seconds = run * EVERY_MS / 1000
    root = {"device": "/dev/sda1", "type": "ext4", "mountpoint": "/", "mode": "rw"}
    return [
        *(("system.cpu.time", {"cpu": f"cpu{core}", "state": "idle"}, 900 + seconds * 0.7) for core in "01"),
        *(("system.cpu.time", {"cpu": f"cpu{core}", "state": "wait"}, 50 + seconds * 0.05) for core in "01"),
        *(("system.cpu.time", {"cpu": f"cpu{core}", "state": "user"}, 100 + seconds * 0.25) for core in "01"),
        ("system.memory.usage", {"state": "used"}, 6.0 * GIB),
        ("system.memory.usage", {"state": "free"}, 1.0 * GIB),
        ("system.memory.usage", {"state": "cached"}, 1.0 * GIB),
        ("system.memory.usage", {"state": "slab_reclaimable"}, 0.5 * GIB),
        ("system.filesystem.usage", root | {"state": "used"}, 60.0 * GIB),
        ("system.filesystem.usage", root | {"state": "free"}, 40.0 * GIB),
        ("system.filesystem.usage", root | {"state": "reserved"}, 5.0 * GIB),
        ("system.network.io", {"device": "eth0", "direction": "receive"}, 1024.0 * seconds),
        ("system.network.io", {"device": "lo", "direction": "receive"}, 9999.0 * seconds),
        ("system.cpu.load_average.1m", {}, 0.5),
    ]


def test_opentelemetrys_host_metrics_feed_the_same_table(token: PushToken) -> None:
    for run in (0, 1):
        points = points_of([(run, raw) for raw in otel_machine(run)], OTEL)
        points.counters = {"system.cpu.time", "system.network.io"}
        take(points, token, origin="test")
        derive.derive(points, token)
    assert derived(1) == MEASURED


def test_shares_that_opentelemetry_sends_are_percent_here(token: PushToken) -> None:
    for run in (0, 1):
        rows: list[Raw] = [
            *(("system.cpu.utilization", {"cpu": core, "state": "idle"}, 0.75) for core in "01"),
            ("system.memory.utilization", {"state": "used"}, 0.75),
            ("system.filesystem.utilization", {"mountpoint": "/", "device": "/dev/sda1"}, 0.6),
        ]
        send(token, [(run, raw) for raw in rows], OTEL)
    assert derived(1) == {"cpu": 25.0, "memory": 75.0, "disk": 60.0}


def test_the_rate_of_a_delta_is_no_counter(token: PushToken) -> None:
    for run in (0, 1):
        points = points_of([(run, raw) for raw in otel_machine(run)], OTEL)
        take(points, token, origin="test")
        derive.derive(points, token)
    assert "cpu" not in derived(1)
    assert derived(1)["memory"] == 75.0
