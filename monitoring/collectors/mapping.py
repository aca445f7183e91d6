"""Which exposition names feed which metric of the catalogue, as tables, and the arithmetic between the two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from monitoring.collectors.counters import NAN, Counters, known_sum
from monitoring.collectors.exposition import Sample
from monitoring.collectors.measures import (
    MB,
    Mount,
    Values,
    cpu_values,
    disk_values,
    is_card,
    is_disk,
    kb_per_second,
    memory_values,
    percent,
)
from monitoring.history.frame import SeriesName, canonical_labels

Rows = Mapping[str, Sequence[Sample]]
"""Samples by name; a name that was not shown has none."""


@dataclass(frozen=True)
class Machine:
    """What an exporter of a whole machine calls things. Of several names the first that is shown counts."""

    cpu: str
    core_label: str
    idle: frozenset[str]
    counted_twice: frozenset[str]
    memory_total: tuple[str, ...]
    memory_available: tuple[str, ...]
    memory_reclaimable: tuple[str, ...]  # added up where `memory_available` is not shown
    swap_total: str
    swap_free: str
    disk_size: str
    disk_free: str
    disk_available: str
    mount_label: str
    root: str
    read: str
    written: str
    disk_label: str
    received: str
    sent: str
    card_label: str
    booted: tuple[str, ...]
    clock: tuple[str, ...]  # uptime is by the machine's own clock where that is shown
    as_they_are: Mapping[str, tuple[str, ...]]

    def groups(self) -> Iterator[tuple[str, ...]]:
        """The names, those together whose samples of one instant are needed together."""
        yield (self.cpu,)
        yield (*self.memory_total, *self.memory_available, *self.memory_reclaimable)
        yield (self.swap_total, self.swap_free)
        yield (self.disk_size, self.disk_free, self.disk_available)
        yield from ((name,) for name in self.traffic)
        yield (*self.booted, *self.clock)
        yield from self.as_they_are.values()

    @property
    def traffic(self) -> tuple[str, ...]:
        return (self.read, self.written, self.received, self.sent)

    def names(self) -> set[str]:
        return {name for group in self.groups() for name in group}


NODE_EXPORTER = Machine(
    cpu="node_cpu_seconds_total",
    core_label="cpu",
    idle=frozenset({"idle", "iowait"}),
    counted_twice=frozenset(),
    memory_total=("node_memory_MemTotal_bytes", "node_memory_total_bytes"),
    memory_available=("node_memory_MemAvailable_bytes",),
    memory_reclaimable=(
        *("node_memory_MemFree_bytes", "node_memory_Buffers_bytes", "node_memory_Cached_bytes"),
        *("node_memory_free_bytes", "node_memory_inactive_bytes"),
    ),
    swap_total="node_memory_SwapTotal_bytes",
    swap_free="node_memory_SwapFree_bytes",
    disk_size="node_filesystem_size_bytes",
    disk_free="node_filesystem_free_bytes",
    disk_available="node_filesystem_avail_bytes",
    mount_label="mountpoint",
    root="/",
    read="node_disk_read_bytes_total",
    written="node_disk_written_bytes_total",
    disk_label="device",
    received="node_network_receive_bytes_total",
    sent="node_network_transmit_bytes_total",
    card_label="device",
    booted=("node_boot_time_seconds",),
    clock=("node_time_seconds",),
    as_they_are={
        "load1": ("node_load1",),
        "load5": ("node_load5",),
        "load15": ("node_load15",),
        "connections": ("node_netstat_Tcp_CurrEstab", "node_sockstat_TCP_inuse"),
        "processes": ("node_processes_pids",),
    },
)

WINDOWS_EXPORTER = Machine(
    cpu="windows_cpu_time_total",
    core_label="core",
    idle=frozenset({"idle"}),
    counted_twice=frozenset({"dpc", "interrupt"}),  # parts of "privileged"
    memory_total=("windows_memory_physical_total_bytes", "windows_cs_physical_memory_bytes"),
    memory_available=(
        *("windows_memory_available_bytes", "windows_memory_physical_free_bytes"),
        "windows_os_physical_memory_free_bytes",
    ),
    memory_reclaimable=(),
    swap_total="windows_os_paging_limit_bytes",
    swap_free="windows_os_paging_free_bytes",
    disk_size="windows_logical_disk_size_bytes",
    disk_free="windows_logical_disk_free_bytes",
    disk_available="windows_logical_disk_free_bytes",
    mount_label="volume",
    root="C:",
    read="windows_logical_disk_read_bytes_total",
    written="windows_logical_disk_write_bytes_total",
    disk_label="volume",
    received="windows_net_bytes_received_total",
    sent="windows_net_bytes_sent_total",
    card_label="nic",
    booted=("windows_system_boot_time_timestamp_seconds", "windows_system_system_up_time"),
    clock=("windows_os_time",),
    as_they_are={"processes": ("windows_system_processes", "windows_os_processes")},
)

MACHINES = (NODE_EXPORTER, WINDOWS_EXPORTER)

# A program that tells about itself, where no exporter tells about the whole machine.
PROGRAM_MEMORY = "process_resident_memory_bytes"
PROGRAM_START = "process_start_time_seconds"

HTTP_COUNTS = (
    *("http_requests_total", "http_request_total", "http_server_requests_total"),
    *("http_request_duration_seconds_count", "http_server_requests_seconds_count"),
    *("http_server_request_duration_seconds_count", "http.server.request.duration_count"),
)
HTTP_BUCKETS = (
    *("http_request_duration_seconds_bucket", "http_server_requests_seconds_bucket"),
    *("http_server_request_duration_seconds_bucket", "http.server.request.duration_bucket"),
)
STATUS_LABELS = (
    *("code", "status", "status_code", "http_status_code", "http_response_status_code"),
    "http.response.status_code",
)

NAMES = frozenset().union(
    *(machine.names() for machine in MACHINES), {PROGRAM_MEMORY, PROGRAM_START}, HTTP_COUNTS, HTTP_BUCKETS
)
"""Every exposition name that the catalogue is fed from."""


def catalogue_values(samples: Iterable[Sample], counters: Counters) -> Values:
    """The catalogue metrics that `samples` tell of. A rate that is not known yet is NaN: the layout stays the same."""
    rows: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        rows[sample.name].append(sample)
    values = _program_values(rows, counters)
    for machine in MACHINES:
        values |= _machine_values(rows, machine, counters)
    return values | _http_values(rows, counters)


def series_key(sample: Sample) -> str:
    return sample.name + canonical_labels(sample.labels)


# --- Machines ---------------------------------------------------------------------------------------------------------
def _machine_values(rows: Rows, machine: Machine, counters: Counters) -> Values:
    cores = _cores(rows, machine)
    return {
        **(cpu_values(counters, cores) if cores else {}),
        **_memory(rows, machine),
        **disk_values(_mounts(rows, machine), machine.root),
        **_traffic(rows, machine, counters),
        **_plain(rows, machine, counters),
    }


def _cores(rows: Rows, machine: Machine) -> dict[str, tuple[float, float]]:
    """Each core's busy and total seconds."""
    cores: dict[str, tuple[float, float]] = {}
    for _name, labels, seconds, _line in rows.get(machine.cpu, ()):
        core, mode = labels.get(machine.core_label, ""), labels.get("mode", "")
        if mode not in machine.counted_twice:
            busy, total = cores.get(core, (0.0, 0.0))
            cores[core] = (busy + (0.0 if mode in machine.idle else seconds), total + seconds)
    return cores


def _memory(rows: Rows, machine: Machine) -> Values:
    values: Values = {}
    total = _first(rows, machine.memory_total)
    if total is not None:
        available = _first(rows, machine.memory_available)
        if available is None:
            available = known_sum(sample.value for name in machine.memory_reclaimable for sample in rows.get(name, ()))
        values |= memory_values(total, available)
    swap, free = _first(rows, [machine.swap_total]), _first(rows, [machine.swap_free])
    if swap and free is not None:
        values[SeriesName("swap")] = percent(swap - free, swap)
    return values


def _mounts(rows: Rows, machine: Machine) -> Iterator[Mount]:
    free, available = (
        {canonical_labels(sample.labels): sample.value for sample in rows.get(name, ())}
        for name in (machine.disk_free, machine.disk_available)
    )
    for sample in rows.get(machine.disk_size, ()):
        key, labels = canonical_labels(sample.labels), sample.labels
        left = available.get(key, free.get(key))
        path = labels.get(machine.mount_label, "")
        if left is not None and not path.startswith("HarddiskVolume"):
            kind, device = labels.get("fstype", ""), labels.get("device", path)
            yield Mount(device, kind, path, sample.value, free.get(key, left), left)


def _traffic(rows: Rows, machine: Machine, counters: Counters) -> Values:
    values: Values = {}
    for metric, name, label, counts in (
        ("disk_read", machine.read, machine.disk_label, is_disk),
        ("disk_write", machine.written, machine.disk_label, is_disk),
        ("net_rx", machine.received, machine.card_label, is_card),
        ("net_tx", machine.sent, machine.card_label, is_card),
    ):
        by_device = {sample.labels.get(label, ""): sample.value for sample in rows.get(name, ())}
        values |= kb_per_second(counters, metric, {device: n for device, n in by_device.items() if counts(device)})
    return values


def _plain(rows: Rows, machine: Machine, counters: Counters) -> Values:
    found = {metric: _first(rows, names) for metric, names in machine.as_they_are.items()}
    values = {SeriesName(metric): value for metric, value in found.items() if value is not None}
    booted = _first(rows, machine.booted)
    if booted is not None:
        values[SeriesName("uptime")] = (_first(rows, machine.clock) or counters.at_ms / 1000) - booted
    return values


def _program_values(rows: Rows, counters: Counters) -> Values:
    values: Values = {}
    memory, start = _first(rows, [PROGRAM_MEMORY]), _first(rows, [PROGRAM_START])
    if memory is not None:
        values[SeriesName("memory_used")] = memory / MB
    if start is not None:
        values[SeriesName("uptime")] = counters.at_ms / 1000 - start
    return values


def _first(rows: Rows, names: Iterable[str]) -> float | None:
    return next((rows[name][0].value for name in names if rows.get(name)), None)


# --- HTTP servers -----------------------------------------------------------------------------------------------------
def _http_values(rows: Rows, counters: Counters) -> Values:
    values: Values = {}
    requests = next((rows[name] for name in HTTP_COUNTS if rows.get(name)), [])
    if requests:
        rates = [(_status(sample), counters.rate(series_key(sample), sample.value)) for sample in requests]
        total = known_sum(rate for _code, rate in rates)
        values[SeriesName("throughput")] = total
        if any(code for code, _rate in rates):
            failed = known_sum(rate for code, rate in rates if code.startswith("5"))
            # No series of 5xx at all is no error, but one whose rate is not known yet is a gap.
            known_failed = failed if any(code.startswith("5") for code, _rate in rates) else 0.0
            values[SeriesName("error_rate")] = percent(known_failed, total)
    buckets = next((rows[name] for name in HTTP_BUCKETS if rows.get(name)), [])
    if buckets:
        grown = _grown_buckets(buckets, counters)
        values[SeriesName("response_p50")] = 1000 * quantile(grown, 0.5)
        values[SeriesName("response_p95")] = 1000 * quantile(grown, 0.95)
    return values


def _status(sample: Sample) -> str:
    return next((sample.labels[label] for label in STATUS_LABELS if label in sample.labels), "")


def _grown_buckets(buckets: Iterable[Sample], counters: Counters) -> list[tuple[float, float]]:
    """(upper bound, requests up to it since the last run), ascending; all paths and codes together."""
    increases: defaultdict[float, list[float]] = defaultdict(list)
    for sample in buckets:
        try:
            bound = float(sample.labels.get("le", ""))
        except ValueError:
            continue
        increases[bound].append(counters.increase(series_key(sample), sample.value))
    return [(bound, known_sum(increases[bound])) for bound in sorted(increases)]


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> float:
    """The value below which `share` of the requests were, linear within a bucket as Prometheus' histogram_quantile;
    NaN without requests. `buckets` are cumulative (upper bound, count), ascending."""
    if not buckets or not buckets[-1][1] > 0:
        return NAN
    rank = share * buckets[-1][1]
    for (lower, below), (upper, up_to) in pairwise([(0.0, 0.0), *buckets]):
        if up_to >= rank:
            return lower if upper == float("inf") else lower + (upper - lower) * (rank - below) / (up_to - below)
    return buckets[-1][0]
