"""The machine that the portal runs on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from monitoring.collectors.base import Collected
from monitoring.collectors.counters import Counters
from monitoring.collectors.measures import (
    Mount,
    Values,
    cpu_values,
    disk_values,
    is_card,
    is_disk,
    kb_per_second,
    memory_values,
    percent,
    tidy,
)
from monitoring.collectors.options import Needs
from monitoring.history.frame import SeriesName
from monitoring.models import Source

NEEDS = Needs(url="none")
_SNMP = Path("/proc/net/snmp")


def collect(source: Source, now_ms: int) -> Collected:
    counters = Counters.recall(source, now_ms)
    memory = psutil.virtual_memory()
    values: Values = {
        **cpu_values(counters, _cores()),
        **{SeriesName(f"load{n}"): load for n, load in zip((1, 5, 15), psutil.getloadavg(), strict=True)},
        **memory_values(memory.total, memory.available),
        **_swap(),
        **disk_values(_mounts()),
        **_disk_traffic(counters),
        **_network_traffic(counters),
        SeriesName("processes"): len(psutil.pids()),
        SeriesName("uptime"): now_ms / 1000 - psutil.boot_time(),
        **_connections(),
    }
    counters.keep()
    return Collected(tidy(values), len(values))


def _cores() -> dict[str, tuple[float, float]]:
    """Each core's busy and total seconds."""
    cores = {}
    for number, times in enumerate(psutil.cpu_times(percpu=True)):
        # The kernel counts a guest's time in `user` and `nice` already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        cores[str(number)] = (total - times.idle - getattr(times, "iowait", 0.0), total)
    return cores


def _swap() -> Values:
    swap = psutil.swap_memory()
    return {SeriesName("swap"): percent(swap.used, swap.total)} if swap.total else {}


def _mounts() -> Iterator[Mount]:
    """Disks and the root, whatever that is made of; network file systems are left out: a dead one hangs who asks."""
    found = [(part.device, part.fstype, part.mountpoint) for part in psutil.disk_partitions(all=False)]
    if all(path != "/" for _, _, path in found):
        found.append(("/", "", "/"))
    for device, kind, path in found:
        with contextlib.suppress(OSError):
            usage = psutil.disk_usage(path)
            yield Mount(device, kind, path, usage.total, usage.total - usage.used, usage.free)


def _disk_traffic(counters: Counters) -> Values:
    disks = {name: io for name, io in psutil.disk_io_counters(perdisk=True, nowrap=False).items() if is_disk(name)}
    return {
        **kb_per_second(counters, "disk_read", {name: io.read_bytes for name, io in disks.items()}),
        **kb_per_second(counters, "disk_write", {name: io.write_bytes for name, io in disks.items()}),
    }


def _network_traffic(counters: Counters) -> Values:
    cards = {name: io for name, io in psutil.net_io_counters(pernic=True, nowrap=False).items() if is_card(name)}
    return {
        **kb_per_second(counters, "net_rx", {name: io.bytes_recv for name, io in cards.items()}),
        **kb_per_second(counters, "net_tx", {name: io.bytes_sent for name, io in cards.items()}),
    }


def _connections() -> Values:
    """Established TCP connections, as the kernel counts them: psutil would walk every file of every process."""
    try:
        names, numbers = (line.split() for line in _SNMP.read_text().splitlines() if line.startswith("Tcp:"))
        return {SeriesName("connections"): float(numbers[names.index("CurrEstab")])}
    except (OSError, ValueError):
        return {}
