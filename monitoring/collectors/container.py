"""From what an engine says of one container to values, the way that `docker stats` counts."""

from __future__ import annotations

from math import isnan

from monitoring.collectors.counters import NAN, Counters, known_sum
from monitoring.collectors.measures import KB, MB, Values, percent
from monitoring.collectors.shape import Shape, at, instant, number, objects, text
from monitoring.history.frame import SeriesName

NANOSECONDS = 1e9
DEFAULT_PERIOD_US = 100_000


def container_values(key: str, stats: Shape, details: Shape, counters: Counters, now_ms: int) -> Values:
    """The values of one container; `key` tells its counters apart from those of its namesake of yesterday.

    Rates are over the time between the engine's own two looks, so that a slow answer does not bend them.
    """
    seconds = counters.increase(f"{key} at", instant(stats, "read"))
    seconds = seconds if seconds > 0 else NAN
    return {
        **_cpu(key, stats, details, counters, seconds),
        **_memory(stats, details),
        **_network(key, stats, counters, seconds),
        **_disks(key, stats, counters, seconds),
        SeriesName("restarts"): number(details, "RestartCount"),
        SeriesName("uptime"): now_ms / 1000 - instant(details, "State", "StartedAt"),
    }


def _cpu(key: str, stats: Shape, details: Shape, counters: Counters, seconds: float) -> Values:
    """`cpu` is the share of all cores of the machine: `docker stats` shows that of one core, up to 100 % each."""
    used = counters.increase(f"{key} cpu", number(stats, "cpu_stats", "cpu_usage", "total_usage")) / NANOSECONDS
    busy = used / seconds
    values = {SeriesName("cpu"): percent(busy, _cores(stats))}
    limit = cpu_limit(details)
    if not isnan(limit):
        values[SeriesName("cpu_limit_share")] = percent(busy, limit)
    return values


def _cores(stats: Shape) -> float:
    cores = number(stats, "cpu_stats", "online_cpus")
    each = at(stats, "cpu_stats", "cpu_usage", "percpu_usage")
    return cores if cores > 0 else len(each) if isinstance(each, list) else NAN


def cpu_limit(details: Shape) -> float:
    """In cores; NaN without a limit."""
    nano = number(details, "HostConfig", "NanoCpus")
    if nano > 0:
        return nano / NANOSECONDS
    quota, period = number(details, "HostConfig", "CpuQuota"), number(details, "HostConfig", "CpuPeriod")
    return quota / (period if period > 0 else DEFAULT_PERIOD_US) if quota > 0 else NAN


def _memory(stats: Shape, details: Shape) -> Values:
    """Without the pages of files that are given back when somebody needs them. Of its limit, or of the machine's."""
    used = number(stats, "memory_stats", "usage")
    idle = number(stats, "memory_stats", "stats", "total_inactive_file")
    if isnan(idle):
        idle = number(stats, "memory_stats", "stats", "inactive_file")
    if idle < used:
        used -= idle
    values = {
        SeriesName("memory"): percent(used, number(stats, "memory_stats", "limit")),
        SeriesName("memory_used"): used / MB,
    }
    limit = number(details, "HostConfig", "Memory")
    if limit > 0:
        values[SeriesName("memory_limit_share")] = percent(used, limit)
    return values


def _network(key: str, stats: Shape, counters: Counters, seconds: float) -> Values:
    """Nothing for a container that shares the machine's network."""
    cards = at(stats, "networks")
    if not isinstance(cards, dict) or not cards:
        return {}
    return {
        SeriesName(metric): known_sum(
            counters.increase(f"{key} {field} {name}", number(card, field)) / seconds for name, card in cards.items()
        )
        / KB
        for metric, field in (("net_rx", "rx_bytes"), ("net_tx", "tx_bytes"))
    }


def _disks(key: str, stats: Shape, counters: Counters, seconds: float) -> Values:
    """Nothing until it has read or written for the first time."""
    entries = objects(stats, "blkio_stats", "io_service_bytes_recursive")
    totals = {
        operation: known_sum(number(entry, "value") for entry in entries if text(entry, "op").lower() == operation)
        for operation in ("read", "write")
    }
    return {
        SeriesName(f"disk_{operation}"): counters.increase(f"{key} {operation}", total) / seconds / KB
        for operation, total in totals.items()
        if not isnan(total)
    }
