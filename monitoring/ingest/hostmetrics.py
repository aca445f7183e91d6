"""OpenTelemetry's host metrics told in node_exporter's words, so that one table feeds the catalogue from both.

Names and states are those of the collector's hostmetrics receiver and of the semantic conventions since 1.28, which
call attributes otherwise ("cpu.mode" for "state").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from monitoring.collectors.counters import known_sum
from monitoring.collectors.exposition import Sample
from monitoring.collectors.mapping import NODE_EXPORTER
from monitoring.collectors.measures import Values, labelled
from monitoring.history.frame import SeriesName

Rows = Sequence[Sample]
Translate = Callable[[Rows, int], Iterator[Sample]]

STATE = ("state", "cpu.mode", "system.memory.state", "system.filesystem.state", "system.paging.state", "status")
DIRECTION = ("direction", "network.io.direction", "disk.io.direction")
DEVICE = ("device", "system.device", "network.interface.name")
MOUNT = ("mountpoint", "system.filesystem.mountpoint")
KIND = ("type", "system.filesystem.type")
CORE = ("cpu", "cpu.logical_number", "system.cpu.logical_number")

_NODE = NODE_EXPORTER
_IDLE = ("idle", "wait", "iowait")
_USED, _FREE, _RESERVED = "used", "free", "reserved"
# "slab_reclaimable" and "slab_unreclaimable" are counted in "cached" and "used" already.
_OF_MEMORY = (_USED, _FREE, "buffered", "buffers", "cached", "inactive")


def as_exporter(samples: Iterable[Sample], at_ms: int) -> list[Sample]:
    """What node_exporter would show of the same; samples of other names are left as they are."""
    rows: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        rows[sample.name].append(sample)
    told: list[Sample] = []
    for name, some in rows.items():
        told += _TRANSLATED[name](some, at_ms) if name in _TRANSLATED else some
    return told


def shares(samples: Iterable[Sample]) -> Values:
    """Catalogue metrics that are sent as shares of 1 already."""
    rows: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        rows[sample.name].append(sample)
    return {
        **_cpu_share(rows.get(CPU_SHARE, ())),
        **_memory_share(rows.get(MEMORY_SHARE, ())),
        **_disk_shares(rows.get(DISK_SHARE, ())),
    }


CPU_TIME, CPU_SHARE = "system.cpu.time", "system.cpu.utilization"
MEMORY, MEMORY_SHARE = "system.memory.usage", "system.memory.utilization"
DISK, DISK_SHARE = "system.filesystem.usage", "system.filesystem.utilization"
PAGING = ("system.paging.usage", "system.swap.usage")
LOADS = {f"system.cpu.load_average.{minutes}m": f"node_load{minutes}" for minutes in (1, 5, 15)}
NETWORK, DISK_TRAFFIC = "system.network.io", "system.disk.io"
CONNECTIONS, PROCESSES, UPTIME = "system.network.connections", "system.processes.count", "system.uptime"


def _of(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((labels[name] for name in names if name in labels), "")


def _cpu_time(rows: Rows, _at_ms: int) -> Iterator[Sample]:
    for sample in rows:
        state = _of(sample.labels, STATE)
        labels = {"cpu": _core(sample), "mode": "iowait" if state == "wait" else state}
        yield Sample(_NODE.cpu, labels, sample.value)


def _core(sample: Sample) -> str:
    return _of(sample.labels, CORE).removeprefix("cpu")


def _memory(rows: Rows, _at_ms: int) -> Iterator[Sample]:
    by_state = _by_state(rows)
    used = by_state.get(_USED)
    known = [by_state[state] for state in _OF_MEMORY if state in by_state]
    if used is not None and len(known) > 1:
        yield Sample(_NODE.memory_total[0], {}, sum(known))
        yield Sample(_NODE.memory_available[0], {}, sum(known) - used)


def _paging(rows: Rows, _at_ms: int) -> Iterator[Sample]:
    by_state = _by_state(rows)
    if _USED in by_state and _FREE in by_state:
        yield Sample(_NODE.swap_total, {}, by_state[_USED] + by_state[_FREE])
        yield Sample(_NODE.swap_free, {}, by_state[_FREE])


def _by_state(rows: Rows) -> dict[str, float]:
    """Added up where there are several of a state, as of several swap devices."""
    found: dict[str, float] = defaultdict(float)
    for sample in rows:
        found[_of(sample.labels, STATE)] += sample.value
    return found


def _filesystems(rows: Rows, _at_ms: int) -> Iterator[Sample]:
    mounts: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for sample in rows:
        labels = sample.labels
        mount = (_of(labels, DEVICE), _of(labels, KIND), _of(labels, MOUNT))
        mounts[mount][_of(labels, STATE)] = sample.value
    for (device, kind, path), by_state in mounts.items():
        labels = {"device": device, "fstype": kind, _NODE.mount_label: path}
        free = by_state.get(_FREE)
        if free is not None and _USED in by_state:
            unused = free + by_state.get(_RESERVED, 0.0)
            yield Sample(_NODE.disk_size, labels, by_state[_USED] + unused)
            yield Sample(_NODE.disk_free, labels, unused)
            yield Sample(_NODE.disk_available, labels, free)


def _traffic(names: Mapping[str, str]) -> Translate:
    def translate(rows: Rows, _at_ms: int) -> Iterator[Sample]:
        totals: dict[tuple[str, str], float] = defaultdict(float)
        for sample in rows:
            name = names.get(_of(sample.labels, DIRECTION))
            if name:
                totals[name, _of(sample.labels, DEVICE)] += sample.value
        for (name, device), total in totals.items():
            yield Sample(name, {"device": device}, total)

    return translate


def _renamed(name: str) -> Translate:
    def translate(rows: Rows, _at_ms: int) -> Iterator[Sample]:
        yield Sample(name, {}, rows[0].value)

    return translate


def _summed(name: str, state: str = "") -> Translate:
    """All rows together, or those of one state."""

    def translate(rows: Rows, _at_ms: int) -> Iterator[Sample]:
        counted = [row.value for row in rows if not state or _of(row.labels, _TCP_STATE).upper() == state]
        if counted:
            yield Sample(name, {}, sum(counted))

    return translate


_TCP_STATE = ("state", "network.connection.state", "system.network.state")


def _uptime(rows: Rows, at_ms: int) -> Iterator[Sample]:
    yield Sample(_NODE.booted[0], {}, at_ms / 1000 - rows[0].value)


_TRANSLATED: dict[str, Translate] = {
    CPU_TIME: _cpu_time,
    MEMORY: _memory,
    DISK: _filesystems,
    **dict.fromkeys(PAGING, _paging),
    **{name: _renamed(load) for name, load in LOADS.items()},
    NETWORK: _traffic({"receive": _NODE.received, "transmit": _NODE.sent}),
    DISK_TRAFFIC: _traffic({"read": _NODE.read, "write": _NODE.written}),
    CONNECTIONS: _summed("node_netstat_Tcp_CurrEstab", "ESTABLISHED"),
    PROCESSES: _summed("node_processes_pids"),
    UPTIME: _uptime,
}

GROUPS: tuple[frozenset[str], ...] = (
    frozenset({CPU_TIME}),
    frozenset({CPU_SHARE}),
    frozenset({MEMORY}),
    frozenset({MEMORY_SHARE}),
    frozenset({DISK}),
    frozenset({DISK_SHARE}),
    *(frozenset({name}) for name in (*PAGING, *LOADS, NETWORK, DISK_TRAFFIC, CONNECTIONS, PROCESSES, UPTIME)),
)
"""Names whose samples of one instant are needed together."""


def _cpu_share(rows: Rows) -> Values:
    """Of each core what is not idle; of senders that leave the idle time out, the sum of the rest."""
    cores: dict[str, dict[str, float]] = defaultdict(dict)
    for sample in rows:
        cores[_core(sample)][_of(sample.labels, STATE)] = sample.value
    busy = {core: 100 * _busy(by_state) for core, by_state in cores.items()}
    if not busy:
        return {}
    values = {labelled("cpu_core", core=core): share for core, share in busy.items() if core}
    return {**values, SeriesName("cpu"): known_sum(busy.values()) / len(busy)}


def _busy(by_state: Mapping[str, float]) -> float:
    idle = [by_state[state] for state in _IDLE if state in by_state]
    return 1 - sum(idle) if idle else sum(by_state.values())


def _memory_share(rows: Rows) -> Values:
    used = _by_state(rows).get(_USED)
    return {} if used is None else {SeriesName("memory"): 100 * used}


def _disk_shares(rows: Rows) -> Values:
    """`disk` is the root's; without a root it is not known which is the biggest."""
    by_mount = {_of(row.labels, MOUNT): 100 * row.value for row in rows if _of(row.labels, STATE) in {"", _USED}}
    values = {labelled("disk_used_share", mount=mount): share for mount, share in by_mount.items() if mount}
    root = by_mount.get("/", by_mount.get("C:"))
    return values if root is None else {**values, SeriesName("disk"): root}
