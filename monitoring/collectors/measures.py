"""What the collectors agree on, so that the same machine shows the same numbers whichever of them reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from monitoring.catalogue import BY_NAME
from monitoring.collectors.counters import NAN, Counters, known_sum
from monitoring.history.frame import SeriesName, canonical_labels

KB = 1024
MB = 1024 * 1024

Values = dict[SeriesName, float]

# Counted already where the bytes really pass: loopback, containers' and bridges' ends, bonds and VLANs over a card.
_INNER_INTERFACE = re.compile(
    r"(lo\d*|veth.*|docker.*|br-.*|br\d+|virbr.*|vnet.*|cni.*|flannel.*|cali.*|cilium.*|lxc.*|podman.*|dummy.*|ifb.*"
    r"|kube-.*|nodelocaldns|tunl\d+|tap.*|fwbr.*|fwln.*|fwpr.*|bond\d+|team\d+|.+\.\d+)"
)
# Partitions and what is built upon disks: their bytes are counted with the disk.
_INNER_DISK = re.compile(
    r"(dm-\d+|md\d+.*|loop\d+|ram\d+|zram\d+|sr\d+|fd\d+|(s|h|v|xv)d[a-z]+\d+|nvme\d+n\d+p\d+|mmcblk\d+(p\d+|boot\d+)"
    r"|nbd\d+p\d+|_Total|HarddiskVolume\d+)"
)
_UNREAL_FILESYSTEM = re.compile(
    r"tmpfs|devtmpfs|ramfs|rootfs|overlay|overlayfs|aufs|squashfs|erofs|iso9660|udf|autofs|nsfs|proc|sysfs|cgroup2?"
    r"|debugfs|tracefs|securityfs|configfs|pstore|bpf|mqueue|hugetlbfs|fusectl|devpts|efivarfs|binfmt_misc"
    r"|fuse\.(lxcfs|portal|gvfsd-fuse|snapfuse)"
)


def is_card(interface: str) -> bool:
    return _INNER_INTERFACE.fullmatch(interface) is None


def is_disk(device: str) -> bool:
    return _INNER_DISK.fullmatch(device) is None


def labelled(metric: str, **labels: str) -> SeriesName:
    return SeriesName(metric, canonical_labels(labels))


def of_check(values: Mapping[SeriesName, float], name: str) -> Values:
    """The values of a check that has a name, so that several of one server are series of their own."""
    return {labelled(metric.metric, check=name) if name else metric: value for metric, value in values.items()}


def tidy(values: Mapping[SeriesName, float]) -> Values:
    """Catalogue metrics kept to their bounds and rounded to the last digit worth keeping."""
    return {name: _tidy(name.metric, value) for name, value in values.items()}


def _tidy(metric: str, value: float) -> float:
    known = BY_NAME.get(metric)
    if known is None or not math.isfinite(value):
        return value
    if known.minimum is not None:
        value = max(value, known.minimum)
    if known.maximum is not None:
        value = min(value, known.maximum)
    return round(value, max(0, -math.floor(math.log10(known.resolution))))


def percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole > 0 else NAN


def cpu_values(counters: Counters, cores: Mapping[str, tuple[float, float]]) -> Values:
    """From each core's (busy, total) seconds since its start. Waiting for a disk is not busy: the core is free."""
    grown = {core: counters.busy_and_total(f"cpu {core}", *times) for core, times in cores.items()}
    values = {labelled("cpu_core", core=core): percent(*increases) for core, increases in grown.items()}
    values[SeriesName("cpu")] = percent(*(known_sum(column) for column in zip(*grown.values(), strict=True)))
    values[SeriesName("cpu_cores")] = len(cores)
    return values


def kb_per_second(counters: Counters, metric: str, bytes_by_device: Mapping[str, float]) -> Values:
    rates = (counters.rate(f"{metric} {device}", total) for device, total in bytes_by_device.items())
    return {SeriesName(metric): known_sum(rates) / KB} if bytes_by_device else {}


def memory_values(total: float, available: float) -> Values:
    return {
        SeriesName("memory"): percent(total - available, total),
        SeriesName("memory_used"): (total - available) / MB,
        SeriesName("memory_total"): total / MB,
    }


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system: sizes in bytes, `available` is what an ordinary user may still take of `free`."""

    device: str
    kind: str
    path: str
    size: float
    free: float
    available: float

    @property
    def used(self) -> float:
        return self.size - self.free

    @property
    def used_share(self) -> float:
        """As `df` counts: of what ordinary users can have."""
        return percent(self.used, self.used + self.available)


def disk_values(mounts: Iterable[Mount], root: str = "/") -> Values:
    """`disk` is the root's, or the biggest one's where no root is shown; nothing when there is no file system."""
    sized = [mount for mount in mounts if mount.size > 0]
    main = next((mount for mount in sized if mount.path == root and mount.kind != "tmpfs"), None)
    # One file system mounted at several places is one; its shortest path is the one that people know.
    by_device: dict[str, Mount] = {}
    for mount in sorted(sized, key=lambda mount: (mount is not main, len(mount.path), mount.path)):
        if mount is main or not _UNREAL_FILESYSTEM.fullmatch(mount.kind):
            by_device.setdefault(mount.device, mount)
    if not by_device:
        return {}
    main = main or max(by_device.values(), key=lambda mount: mount.size)
    return {
        SeriesName("disk"): main.used_share,
        SeriesName("disk_used"): main.used / MB,
        SeriesName("disk_total"): main.size / MB,
        **{labelled("disk_used_share", mount=mount.path): mount.used_share for mount in by_device.values()},
    }
