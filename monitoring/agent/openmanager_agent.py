#!/usr/bin/env python3
"""The OpenManager agent: measures the machine that it runs on and sends that to an OpenManager portal.

One file, Python 3.7 or newer, nothing to install. It only makes connections, never takes any, and needs no root.

    python3 agent.py --url https://monitor.example.org --token-file token --check      does it work?
    sudo python3 agent.py --url https://monitor.example.org --token-file token --install

With --journal and --file it also sends what the machine writes into its logs.

While the portal is away the frames wait on the disk, for three days at most, and are sent when it is back.
"""

# The rules by which numbers are computed are those of the portal's own collectors (monitoring/collectors/host.py and
# measures.py): a machine shows the same numbers whichever of them reads it. This file runs without any of them.

from __future__ import annotations

import argparse
import calendar
import collections
import contextlib
import email.utils
import getpass
import glob
import gzip
import hashlib
import io
import json
import math
import os
import platform
import random
import re
import select
import shlex
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, NoReturn, Tuple

VERSION = "1"
NAME = "openmanager-agent"
KB = 1024
MB = 1024 * 1024
NAN = math.nan

Values = Dict[str, float]
"""By the names of series as they are sent: `cpu`, `disk_used_share{mount="/"}`."""


def say(text: str) -> None:
    """One line for the journal, which adds the time."""
    print(NAME + ": " + text, file=sys.stderr, flush=True)


class Repeats:
    """Says what goes on for hours only when it begins, and once an hour."""

    EVERY_S = 3600.0

    def __init__(self) -> None:
        self._said: dict[str, tuple[str, float]] = {}

    def say(self, subject: str, text: str) -> None:
        before, at = self._said.get(subject, ("", -math.inf))
        if text != before or time.monotonic() - at > self.EVERY_S:
            say(text)
            self._said[subject] = (text, time.monotonic())

    def over(self, subject: str, text: str) -> None:
        if self._said.pop(subject, None):
            say(text)


# --- What is measured -------------------------------------------------------------------------------------------------

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
_SHARES = ("cpu", "cpu_core", "memory", "swap", "disk", "disk_used_share")
_DIGITS = {
    **dict.fromkeys((*_SHARES, "disk_read", "disk_write", "net_rx", "net_tx"), 1),
    **dict.fromkeys(("load1", "load5", "load15"), 2),
}
SECTOR_BYTES = 512


def labelled(metric: str, label: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{metric}{{{label}="{escaped}"}}'


def percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole > 0 else NAN


def known_sum(numbers: Iterable[float]) -> float:
    known = [number for number in numbers if not math.isnan(number)]
    return math.fsum(known) if known else NAN


def tidy(values: Values) -> Values:
    """Within their bounds, rounded to the last digit worth keeping, without what is not known."""
    return {name: _tidy(name.partition("{")[0], value) for name, value in values.items() if math.isfinite(value)}


def _tidy(metric: str, value: float) -> float:
    value = min(max(value, 0.0), 100.0) if metric in _SHARES else max(value, 0.0)
    digits = _DIGITS.get(metric, 0)
    return round(value, digits) if digits else round(value)


class Counters:
    """What counters were at the last reading. `seconds` passed since, by a clock that nobody sets."""

    def __init__(self) -> None:
        self.seconds = NAN
        self._at = NAN
        self._before: dict[str, float] = {}
        self._now: dict[str, float] = {}

    def begin(self) -> None:
        """A new reading: what was is now before."""
        now = time.monotonic()
        self.seconds, self._at = now - self._at, now
        self._before, self._now = self._now, {}

    def increase(self, key: str, value: float) -> float:
        """NaN when not known. A lower value restarted from 0."""
        self._now[key] = value
        before = self._before.get(key)
        if before is None:
            return NAN
        return value if value < before else value - before

    def restarted(self, key: str) -> bool:
        return self._now[key] < self._before.get(key, -math.inf)

    def rate(self, key: str, value: float) -> float:
        increase = self.increase(key, value)
        return increase / self.seconds if self.seconds > 0 else NAN

    def busy_and_total(self, key: str, busy: float, total: float) -> tuple[float, float]:
        """(NaN, NaN) when they do not fit together: Linux may take back idle and iowait time, which is no restart."""
        part, whole = key + " busy", key + " total"
        increases = self.increase(part, busy), self.increase(whole, total)
        return increases if self.restarted(part) == self.restarted(whole) else (NAN, NAN)


class Mount(NamedTuple):
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
        return percent(self.used, self.used + self.available)


def cpu_values(counters: Counters, cores: dict[str, tuple[float, float]]) -> Values:
    """From each core's (busy, total) time. Waiting for a disk is not busy: the core is free."""
    grown = {core: counters.busy_and_total("cpu " + core, *times) for core, times in cores.items()}
    values = {labelled("cpu_core", "core", core): percent(*increases) for core, increases in grown.items()}
    if grown:
        values["cpu"] = percent(*(known_sum(column) for column in zip(*grown.values())))
        values["cpu_cores"] = len(cores)
    return values


def traffic_values(
    counters: Counters, into: str, out: str, devices: dict[str, tuple[float, float]], outer: Callable[[str], bool]
) -> Values:
    """KB/s over all `outer` devices, from each one's two counters of bytes."""
    counted = {name: totals for name, totals in devices.items() if outer(name)}
    if not counted:
        return {}
    return {
        metric: known_sum(counters.rate(metric + " " + name, totals[side]) for name, totals in counted.items()) / KB
        for side, metric in enumerate((into, out))
    }


def is_card(interface: str) -> bool:
    return _INNER_INTERFACE.fullmatch(interface) is None


def is_disk(device: str) -> bool:
    return _INNER_DISK.fullmatch(device) is None


def memory_values(total: float, available: float) -> Values:
    used = total - available
    return {"memory": percent(used, total), "memory_used": used / MB, "memory_total": total / MB}


def disk_values(mounts: Iterable[Mount]) -> Values:
    """`disk` is the root's, or the biggest one's where no root is shown."""
    sized = [mount for mount in mounts if mount.size > 0]
    main = next((mount for mount in sized if mount.path == "/" and mount.kind != "tmpfs"), None)
    # One file system mounted at several places is one; its shortest path is the one that people know.
    by_device: dict[str, Mount] = {}
    for mount in sorted(sized, key=lambda mount: (mount is not main, len(mount.path), mount.path)):
        if mount is main or not _UNREAL_FILESYSTEM.fullmatch(mount.kind):
            by_device.setdefault(mount.device, mount)
    if not by_device:
        return {}
    main = main or max(by_device.values(), key=lambda mount: mount.size)
    shares = {labelled("disk_used_share", "mount", mount.path): mount.used_share for mount in by_device.values()}
    return {"disk": main.used_share, "disk_used": main.used / MB, "disk_total": main.size / MB, **shares}


class Linux:
    """The machine as its /proc tells it."""

    def __init__(self, proc: str) -> None:
        self._proc = proc

    def _lines(self, name: str) -> list[str]:
        with open(os.path.join(self._proc, name), encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def cores(self) -> dict[str, tuple[float, float]]:
        rows = [line.split() for line in self._lines("stat") if re.match(r"cpu\d", line)]
        return {str(number): self._busy_and_total([float(text) for text in row[1:]]) for number, row in enumerate(rows)}

    @staticmethod
    def _busy_and_total(times: list[float]) -> tuple[float, float]:
        # The kernel counts a guest's time, the ninth and tenth, in `user` and `nice` already.
        total = sum(times[:8])
        return total - times[3] - (times[4] if len(times) > 4 else 0.0), total

    def loads(self) -> list[float]:
        return [float(text) for text in self._lines("loadavg")[0].split()[:3]]

    def _meminfo(self) -> dict[str, float]:
        rows = (line.split() for line in self._lines("meminfo"))
        return {row[0].rstrip(":"): float(row[1]) * KB for row in rows if len(row) > 1}

    def memory(self) -> tuple[float, float]:
        info = self._meminfo()
        total, free = info["MemTotal"], info["MemFree"]
        available = info.get("MemAvailable", free + info.get("Buffers", 0.0) + info.get("Cached", 0.0))
        # A container may be told of its host's free memory.
        return total, available if available <= total else free

    def swap(self) -> tuple[float, float]:
        info = self._meminfo()
        return info["SwapTotal"], info["SwapTotal"] - info["SwapFree"]

    def mounts(self) -> Iterator[Mount]:
        """Disks and the root; network file systems are left out: a dead one hangs who asks."""
        real = {line.strip() for line in self._lines("filesystems") if not line.startswith("nodev")} | {"zfs"}
        rows = [line.split() for line in self._lines("self/mounts")]
        found = [
            tuple(map(_unescaped, row[:3])) for row in rows if len(row) > 2 and row[0] != "none" and row[2] in real
        ]
        if all(path != "/" for _, path, _ in found):
            found.append(("/", "/", ""))
        for device, path, kind in found:
            with contextlib.suppress(OSError):
                usage = os.statvfs(path)
                unit = usage.f_frsize
                yield Mount(device, kind, path, usage.f_blocks * unit, usage.f_bfree * unit, usage.f_bavail * unit)

    def disks(self) -> dict[str, tuple[float, float]]:
        rows = (line.split() for line in self._lines("diskstats"))
        return {row[2]: (int(row[5]) * SECTOR_BYTES, int(row[9]) * SECTOR_BYTES) for row in rows if len(row) > 13}

    def cards(self) -> dict[str, tuple[float, float]]:
        rows = (line.rpartition(":") for line in self._lines("net/dev")[2:])
        numbers = {name.strip(): rest.split() for name, _, rest in rows}
        return {name: (float(row[0]), float(row[8])) for name, row in numbers.items()}

    def processes(self) -> float:
        return sum(name.isdigit() for name in os.listdir(self._proc))

    def uptime(self) -> float:
        return float(self._lines("uptime")[0].split()[0])

    def connections(self) -> float:
        """Established TCP connections, as the kernel counts them."""
        names, numbers = (line.split() for line in self._lines("net/snmp") if line.startswith("Tcp:"))
        return float(numbers[names.index("CurrEstab")])


def _unescaped(text: str) -> str:
    """/proc writes blanks and the like in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), text)


class OtherSystem:
    """The machine as psutil tells it."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil

    def cores(self) -> dict[str, tuple[float, float]]:
        times = [each._asdict() for each in self._psutil.cpu_times(percpu=True)]
        totals = [sum(each.values()) - each.get("guest", 0.0) - each.get("guest_nice", 0.0) for each in times]
        rows = enumerate(zip(times, totals))
        return {str(n): (total - each["idle"] - each.get("iowait", 0.0), total) for n, (each, total) in rows}

    def loads(self) -> list[float]:
        return list(self._psutil.getloadavg())

    def memory(self) -> tuple[float, float]:
        memory = self._psutil.virtual_memory()
        return memory.total, memory.available

    def swap(self) -> tuple[float, float]:
        swap = self._psutil.swap_memory()
        return swap.total, swap.used

    def mounts(self) -> Iterator[Mount]:
        found = [(part.device, part.fstype, part.mountpoint) for part in self._psutil.disk_partitions(all=False)]
        if os.name == "posix" and all(path != "/" for _, _, path in found):
            found.append(("/", "", "/"))
        for device, kind, path in found:
            with contextlib.suppress(OSError):
                usage = self._psutil.disk_usage(path)
                yield Mount(device, kind, path, usage.total, usage.total - usage.used, usage.free)

    def disks(self) -> dict[str, tuple[float, float]]:
        counted = self._psutil.disk_io_counters(perdisk=True, nowrap=False)
        return {name: (io.read_bytes, io.write_bytes) for name, io in counted.items()}

    def cards(self) -> dict[str, tuple[float, float]]:
        counted = self._psutil.net_io_counters(pernic=True, nowrap=False)
        return {name: (io.bytes_recv, io.bytes_sent) for name, io in counted.items()}

    def processes(self) -> float:
        return len(self._psutil.pids())

    def uptime(self) -> float:
        return float(time.time() - self._psutil.boot_time())

    def connections(self) -> float:
        found = self._psutil.net_connections("tcp")
        return sum(each.status == self._psutil.CONN_ESTABLISHED for each in found)


def this_machine(proc: str) -> Any:
    """Linux where there is a /proc, else OtherSystem. Exits when the machine can be read in neither way."""
    if os.path.exists(os.path.join(proc, "stat")):
        return Linux(proc)
    try:
        return OtherSystem()
    except ImportError:
        stop(f"{proc} has no numbers of this machine. Install psutil: {sys.executable} -m pip install psutil")


class Meter:
    """Reads the machine again and again. What cannot be read is left out, and said once."""

    PATIENCE_S = 2.0

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._counters = Counters()
        self._repeats = Repeats()
        self._asking: threading.Thread | None = None

    def read(self) -> Values:
        """The first reading has no rates: they need two."""
        machine, counters = self._machine, self._counters
        counters.begin()
        parts: dict[str, Callable[[], Values]] = {
            "cpu": lambda: cpu_values(counters, machine.cores()),
            "load": lambda: dict(zip(("load1", "load5", "load15"), machine.loads())),
            "memory": lambda: memory_values(*machine.memory()),
            "swap": self._swap,
            "disk": self._mounts,
            "disk traffic": lambda: traffic_values(counters, "disk_read", "disk_write", machine.disks(), is_disk),
            "network": lambda: traffic_values(counters, "net_rx", "net_tx", machine.cards(), is_card),
            "processes": lambda: {"processes": machine.processes()},
            "uptime": lambda: {"uptime": machine.uptime()},
            "connections": lambda: {"connections": machine.connections()},
        }
        values: Values = {}
        for name, part in parts.items():
            values.update(self._part(name, part))
        return tidy(values)

    def _part(self, name: str, part: Callable[[], Values]) -> Values:
        try:
            return part()
        except Exception as error:  # of the system and of psutil, which has errors of its own
            self._repeats.say(name, f"cannot read {name}: {error}")
            return {}

    def _swap(self) -> Values:
        total, used = self._machine.swap()
        return {"swap": percent(used, total)} if total else {}

    def _mounts(self) -> Values:
        """In a thread: a broken disk may never answer, and then everything else is wanted all the more."""
        if self._asking is not None and self._asking.is_alive():
            raise TimeoutError("a file system does not answer")
        found: list[Mount] = []
        self._asking = threading.Thread(target=lambda: found.extend(self._machine.mounts()), daemon=True)
        self._asking.start()
        self._asking.join(self.PATIENCE_S)
        if self._asking.is_alive():
            raise TimeoutError("a file system does not answer")
        return disk_values(found)


# --- What waits to be sent --------------------------------------------------------------------------------------------


class Segment:
    """A file of the spool. `touched` is when it was last written, by the clock of the process."""

    def __init__(self, path: str, size: int, touched: float) -> None:
        self.path, self.size, self.touched = path, size, touched


class Spool:
    """Lines on the disk, the oldest first, bounded in bytes and in age; not for two threads at once.

    Every line is written before it is sent, so that a kill loses nothing. While the portal takes them the file is cut
    to nothing again before the system ever writes it to the disk. A line that is half written, after a power cut, is
    left out when read. What was sent and not yet cut is sent again after a kill: frames may be repeated.
    """

    SEGMENT_BYTES = 512 * KB
    SEGMENT_S = 3600.0
    AGE_S = 3 * 86400.0
    SYNC_S = 30.0

    def __init__(self, folder: str, most_bytes: int, what: str = "frames") -> None:
        """`what` names the files too: two spools may share a folder."""
        self._folder = folder
        self._what = what
        self._name = re.compile(what + r"-(\d{10})\.jsonl")
        self._most_bytes = max(most_bytes, 2 * self.SEGMENT_BYTES)
        self._segments: collections.deque[Segment] = collections.deque()
        self._file: Any | None = None
        self._begun = 0.0
        self._synced = time.monotonic()
        # Of the oldest segment: lines read and not yet forgotten, with where each ends, and how far it was read.
        self._head: collections.deque[tuple[bytes, int]] = collections.deque()
        self._read_to = 0
        self._find()

    def _find(self) -> None:
        """The segments of an earlier life. How old they are only the clock of the machine knows, which may be wrong."""
        try:
            names = sorted(filter(self._name.fullmatch, os.listdir(self._folder)))
        except OSError:
            return
        for name in names:
            path = os.path.join(self._folder, name)
            with contextlib.suppress(OSError):
                status = os.stat(path)
                age = max(0.0, time.time() - status.st_mtime)
                self._segments.append(Segment(path, status.st_size, time.monotonic() - age))

    def append(self, line: bytes) -> None:
        """Raises OSError; then the next line begins a new file, so that it does not continue half a line."""
        if self._file is None or self._is_full(len(line)):
            self._begin()
        segment = self._segments[-1]
        try:
            written = self._file.write(line + b"\n")  # type: ignore[union-attr]
        except OSError:
            self._end()
            raise
        segment.size += written
        segment.touched = time.monotonic()
        if written <= len(line):
            self._end()
            raise OSError("the disk is full")
        self._keep_bounds()

    def _is_full(self, more: int) -> bool:
        aged = time.monotonic() - self._begun > self.SEGMENT_S and self._segments[-1].size > 0
        return aged or self._segments[-1].size + more > self.SEGMENT_BYTES

    def _begin(self) -> None:
        self._end()
        os.makedirs(self._folder, 0o700, exist_ok=True)
        last = self._name.fullmatch(os.path.basename(self._segments[-1].path)) if self._segments else None
        number = int(last.group(1)) + 1 if last else 1
        path = os.path.join(self._folder, f"{self._what}-{number:010d}.jsonl")
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        self._file = os.fdopen(opened, "wb", 0)
        self._begun = time.monotonic()
        self._segments.append(Segment(path, 0, self._begun))

    def _end(self) -> None:
        if self._file is not None:
            self.sync(at_once=True)
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    close = _end

    def sync(self, at_once: bool = False) -> None:
        """What waits for a portal that is away is made safe from a power cut too, every half minute."""
        if self._file is None or not (at_once or time.monotonic() - self._synced > self.SYNC_S):
            return
        self._synced = time.monotonic()
        if self._segments and self._segments[-1].size:
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())

    def size(self) -> int:
        """In bytes."""
        return sum(segment.size for segment in self._segments)

    def _keep_bounds(self) -> None:
        limit = time.monotonic() - self.AGE_S
        while len(self._segments) > 1:
            too_old = self._segments[0].touched < limit
            if not too_old and self.size() <= self._most_bytes:
                return
            lost = self._lines_of_oldest()
            self._drop_oldest()
            why = "waited three days" if too_old else "more than the spool may hold"
            say(f"dropped the oldest {lost} {self._what}: {why}")

    def _lines_of_oldest(self) -> int:
        with contextlib.suppress(OSError), open(self._segments[0].path, "rb") as file:
            file.seek(self._read_to)
            return len(self._head) + file.read().count(b"\n")
        return len(self._head)

    def _drop_oldest(self) -> None:
        """It was sent, or must go. The file that is being written is cut to nothing instead."""
        segment = self._segments[0]
        self._head.clear()
        self._read_to = 0
        if len(self._segments) == 1 and self._file is not None:
            self._file.truncate(0)
            segment.size = 0
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(segment.path)
        self._segments.popleft()

    def peek(self, count: int) -> list[bytes]:
        """At most `count` of the oldest lines, which stay; of one segment only."""
        while self._segments:
            if len(self._head) < count:
                self._read_more()
            if self._head:
                return [line for line, _ in list(self._head)[:count]]
            if len(self._segments) == 1 and not self._segments[0].size:
                return []
            self._drop_oldest()  # all of it was sent, or nothing could be written into it
        return []

    def last(self) -> bytes | None:
        """The newest line that is whole; None when nothing waits."""
        for segment in reversed(self._segments):
            with contextlib.suppress(OSError), open(segment.path, "rb") as file:
                whole = [line for line in file.read().splitlines(True)[-2:] if _is_whole(line)]
                if whole:
                    return whole[-1].rstrip(b"\n")
        return None

    def _read_more(self) -> None:
        try:
            with open(self._segments[0].path, "rb") as file:
                file.seek(self._read_to)
                lines = file.read().splitlines(True)
        except OSError as error:
            say(f"cannot read the spool: {error}")
            lines = []
        for line in lines:
            self._read_to += len(line)
            if _is_whole(line):
                self._head.append((line.rstrip(b"\n"), self._read_to))
            else:
                say("left out a line of the spool that was only half written")

    def forget(self, done: set[bytes]) -> None:
        """The oldest lines as long as they are in `done`, from which they are taken too."""
        while self.peek(1) and self._head[0][0] in done:
            done.discard(self._head.popleft()[0])
            if not self._head:
                self.peek(1)  # throws away what has no more lines


def _is_whole(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line.decode()), dict)
    except ValueError:
        return False


class Outbox:
    """Frames as lines, from the thread that measures to the thread that sends.

    The newest go first: who looks at the page after an outage sees now, while the past is filled in from its begin.
    """

    NEWEST = 10
    IN_MEMORY = 360

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._newest: collections.deque[bytes] = collections.deque(maxlen=self.NEWEST)
        self._unwritten: collections.deque[bytes] = collections.deque(maxlen=self.IN_MEMORY)
        self._ahead: set[bytes] = set()  # taken by the portal, and still in the spool behind older ones
        self._repeats = Repeats()
        self.news = threading.Event()

    def put(self, line: bytes) -> None:
        with self._lock:
            self._newest.append(line)
            try:
                self._spool.append(line)
            except OSError as error:
                self._unwritten.append(line)
                self._repeats.say("spool", f"cannot write the spool, only {self.IN_MEMORY} frames can wait: {error}")
            else:
                self._repeats.over("spool", "the spool can be written again")
        self.news.set()

    def batch(self, most: int) -> list[bytes]:
        """At most `most` lines to send: the newest, then the oldest. They stay until they are `done`."""
        with self._lock:
            self.news.clear()
            lines = dict.fromkeys([*self._newest, *self._spool.peek(most), *self._unwritten])
            return [line for line in lines if line not in self._ahead][:most]

    def done(self, lines: list[bytes]) -> None:
        """They were taken, or are given up."""
        with self._lock:
            self._ahead.update(lines)
            for waiting in (self._newest, self._unwritten):
                kept = [line for line in waiting if line not in self._ahead]
                waiting.clear()
                waiting.extend(kept)
            self._spool.forget(self._ahead)
            if not self._spool.peek(1):
                self._ahead.clear()

    def sync(self) -> None:
        with self._lock:
            self._spool.sync()

    def close(self) -> None:
        with self._lock:
            self._spool.close()


# --- What others write into logs --------------------------------------------------------------------------------------

LONGEST_LINE = 64 * KB
"""Bytes of a line, and of a stack trace, that are sent; the portal keeps no more."""
PACKED_FILES = (".gz", ".xz", ".zst", ".bz2", ".lz4", ".zip", ".Z", ".journal")


class Entry(NamedTuple):
    """A line as it is sent. `at_ns` is epoch nanoseconds; `facts` what is known of it besides, by name."""

    source: str
    at_ns: int
    text: str
    facts: Dict[str, str]  # noqa: UP006 (it is evaluated, by old Pythons too)


_ISO = r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?\d* ?(Z|UTC|GMT|[+-]\d\d:?\d\d)"
_ISO_FIRST = re.compile(r"\[?" + _ISO + r"(?=$|[^\d:])")
_ISO_NAMED = re.compile(r'"(?:@?timestamp|time|ts|date)" ?: ?"' + _ISO + '"')
_WEB_SERVER = re.compile(r"\[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\]")
_MONTHS = "JanFebMarAprMayJunJulAugSepOctNovDec"
_HEAD = 400
_OLDEST_S, _FUTURE_S = 30 * 86400.0, 300.0


def instant_in(text: str, now_ns: int) -> int | None:
    """When a line says that it was written, in epoch ns, if it does so with a time zone, and can be believed."""
    head = text[:_HEAD]
    found = _ISO_FIRST.match(head) or _ISO_NAMED.search(head)
    try:
        at_ns = _iso_ns(*found.groups()) if found else _web_server_ns(head)
    except (ValueError, OverflowError):
        return None
    if at_ns is None or not now_ns - _OLDEST_S * 1e9 < at_ns < now_ns + _FUTURE_S * 1e9:
        return None
    return at_ns


def _iso_ns(year: str, month: str, day: str, hour: str, minute: str, second: str, part: str | None, zone: str) -> int:
    moment = (int(year), int(month), int(day), int(hour), int(minute), int(second), 0, 0, 0)
    seconds = calendar.timegm(moment) - _offset_s(zone)
    return seconds * 10**9 + int((part or "").ljust(9, "0"))


def _web_server_ns(head: str) -> int | None:
    found = _WEB_SERVER.search(head)
    if not found:
        return None
    day, month, year, hour, minute, second, zone = found.groups()
    number = _MONTHS.index(month) // 3 + 1
    return _iso_ns(year, str(number), day, hour, minute, second, None, zone)


def _offset_s(zone: str) -> int:
    if zone[0] not in "+-":
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return -seconds if zone[0] == "-" else seconds


class Instants:
    """Tells apart lines that were written in the same instant: each is a nanosecond after the one before."""

    def __init__(self) -> None:
        self._last = 0
        self._same = 0

    def __call__(self, at_ns: int) -> int:
        self._same = self._same + 1 if at_ns == self._last else 0
        self._last = at_ns
        return at_ns + self._same


class Trace:
    """Lines that are one: a line, and what is indented below it or goes on with a stack trace."""

    MOST_LINES = 1000
    _GOES_ON = (
        "Traceback (most recent call last)",
        "During handling of the above exception",
        "The above exception was the direct cause",
        "Caused by: ",
        "Suppressed: ",
    )

    def __init__(self, text: str) -> None:
        self._lines = [text]
        self._size = len(text)
        self._is_python = text.startswith("Traceback (")

    def takes(self, text: str) -> bool:
        """Whether the line belongs to this; then it is taken."""
        ends = self._is_python and not text[:1].isspace() and self._lines[-1][:1].isspace()
        belongs = text[:1].isspace() or text.startswith(self._GOES_ON) or ends
        if not belongs or len(self._lines) >= self.MOST_LINES or self._size + len(text) > LONGEST_LINE:
            return False
        self._is_python = text.startswith("Traceback (") or (self._is_python and not ends)
        self._lines.append(text)
        self._size += len(text) + 1
        return True

    @property
    def text(self) -> str:
        return "\n".join(self._lines)


class Followed:
    """A file that is read as it grows. `at` is where the first byte stands that was not handed on yet.

    A line is handed on when its end was written, and when what follows does not belong to it: half a second later.
    """

    CHUNK = 256 * KB
    JOIN_S = 0.5
    HEAD = 128

    def __init__(self, path: str, source: str, file: Any, at: int, joins: bool = True) -> None:
        self.path, self.source, self.at = path, source, at
        self._file = file
        self._joins = joins
        status = os.fstat(file.fileno())
        self.identity = (status.st_dev, status.st_ino)
        self.head = head_of(file, self.HEAD)
        self.quiet_since = time.monotonic()
        self._instants = Instants()
        self._begin(at)

    def _begin(self, at: int) -> None:
        self.at = self._read_to = at
        self._half = b""
        self._left_out = 0
        self._trace: Trace | None = None
        self._trace_began_ns = 0
        self._trace_left_out = 0
        self._ended_at = at

    def read(self) -> list[Entry]:
        """What was finished since; of at most CHUNK bytes of the file. Raises OSError."""
        entries = self._after_truncation()
        self._file.seek(self._read_to)
        chunk = self._file.read(self.CHUNK)
        if chunk:
            self.quiet_since = time.monotonic()
        for part in _lines(chunk):
            entries += self._take(part)
        if not chunk and self._trace and time.monotonic() - self.quiet_since > self.JOIN_S:
            entries += self._hand_on()
        return entries

    def _after_truncation(self) -> list[Entry]:
        """The file may have been emptied, or emptied and written anew beyond where we stand."""
        size = os.fstat(self._file.fileno()).st_size
        if size == self._read_to:
            return []
        head = head_of(self._file, self.HEAD)
        same = size >= self._read_to and head[: len(self.head)] == self.head
        self.head = head
        if same:
            return []
        entries = self._hand_on()
        self._begin(0)
        return entries

    def _take(self, part: bytes) -> list[Entry]:
        self._read_to += len(part)
        room = LONGEST_LINE - len(self._half)
        whole = part.endswith(b"\n")
        body = part[:-1] if whole else part
        self._half += body[:room]
        self._left_out += max(0, len(body) - room)
        return self._line() if whole else []

    def _line(self) -> list[Entry]:
        text = self._half.decode("utf-8", "replace").rstrip("\r")
        left_out, self._half, self._left_out = self._left_out, b"", 0
        entries: list[Entry] = []
        if text.strip() and not (self._trace and not left_out and self._trace.takes(text)):
            entries = self._hand_on()
            self._trace, self._trace_left_out = Trace(text), left_out
            self._trace_began_ns = time.time_ns()
        self._ended_at = self._read_to
        if self._trace is None:
            self.at = self._ended_at
        return entries if self._joins else entries + self._hand_on()

    def _hand_on(self) -> list[Entry]:
        """The line that waited whether more belongs to it."""
        if self._trace is None:
            return []
        text, now_ns = self._trace.text, self._trace_began_ns
        facts = {"filename": self.path}
        if self._trace_left_out:
            facts["cut_bytes"] = str(self._trace_left_out)
        self.at, self._trace = self._ended_at, None
        at_ns = instant_in(text, now_ns)
        return [Entry(self.source, self._instants(now_ns if at_ns is None else at_ns), text, facts)]

    def finish(self) -> list[Entry]:
        """What is left of a file that nobody writes any more: its last line may have no end."""
        entries = self._line() if self._half else []
        return entries + self._hand_on()

    def close(self) -> None:
        self._file.close()

    def place(self) -> dict[str, Any]:
        """What is remembered of it."""
        return {
            "path": self.path,
            "device": self.identity[0],
            "inode": self.identity[1],
            "at": self.at,
            "head_bytes": len(self.head),
            "head": hashlib.sha256(self.head).hexdigest(),
        }


def _lines(chunk: bytes) -> list[bytes]:
    """Ended by line feeds alone: bytes.splitlines knows more ends."""
    lines = [line + b"\n" for line in chunk.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def head_of(file: Any, size: int) -> bytes:
    file.seek(0)
    head: bytes = file.read(size)
    return head


def is_same_file(file: Any, place: dict[str, Any]) -> bool:
    """Whether an open file is the one of the place: its number alone may belong to a new file by now."""
    status = os.fstat(file.fileno())
    if (status.st_dev, status.st_ino) != (place["device"], place["inode"]) or status.st_size < place["at"]:
        return False
    head = head_of(file, place["head_bytes"])
    return hashlib.sha256(head).hexdigest() == str(place["head"])


class Files:
    """Follows every file that the patterns name, also through rotation, and from where an earlier life left it.

    A pattern is (source, glob); without a source the name of the file is one. Files that a new pattern finds are
    followed from their end, later ones from their begin.
    """

    SCAN_S = 2.0
    LEFT_S = 30.0
    MOST = 200
    PLACES = 1000

    def __init__(
        self,
        patterns: list[tuple[str, str]],
        remembered: dict[str, Any],
        from_start: bool = False,
        joins: bool = True,
        tell: Callable[[str, str], None] = lambda subject, text: None,
    ) -> None:
        self._patterns = patterns
        self._from_start = from_start
        self._joins = joins
        self._tell = tell
        self._known = {tuple(pattern) for pattern in remembered.get("patterns", [])}
        self._places: list[dict[str, Any]] = list(remembered.get("places", []))
        self._open: dict[tuple[int, int], Followed] = {}
        self._left: set[tuple[int, int]] = set()
        self._scanned = -math.inf
        self._first = 0
        self.unreadable: dict[str, str] = {}

    def poll(self, most_bytes: int) -> list[Entry]:
        """Lines that were finished since, of about so many bytes; each file has its turn."""
        if time.monotonic() - self._scanned > self.SCAN_S:
            self._scan()
        entries: list[Entry] = []
        size = 0
        followed = list(self._open.values())
        for number in range(len(followed)):
            some = self._read(followed[(self._first + number) % len(followed)])
            entries += some
            size += sum(len(entry.text) for entry in some)
            if size >= most_bytes:
                self._first += number + 1
                break
        return entries

    def _read(self, followed: Followed) -> list[Entry]:
        try:
            entries = followed.read()
        except OSError as error:
            self._tell(followed.path, f"cannot read {followed.path}: {error.strerror}")
            self._close(followed)
            return []
        if followed.identity in self._left and time.monotonic() - followed.quiet_since > self.LEFT_S:
            entries += followed.finish()
            self._close(followed)
        return entries

    def _close(self, followed: Followed) -> None:
        self._left.discard(followed.identity)
        self._open.pop(followed.identity, None)
        followed.close()

    def _scan(self) -> None:
        self._scanned = time.monotonic()
        self.unreadable = {}
        found = self._found()
        for path, (source, is_new, identity) in found.items():
            if identity in self._open:
                self._open[identity].path = path
                continue
            try:
                self._follow(path, source, is_new)
            except OSError as error:
                self.unreadable[path] = f"{path}: {error.strerror}"
                self._tell(path, f"cannot read {path}: {error.strerror}. {reading_hint()}")
        here = {identity for _, _, identity in found.values()}
        self._left = {identity for identity in self._open if identity not in here}
        self._known = {*self._known, *self._patterns}

    def _found(self) -> dict[str, tuple[str, bool, tuple[int, int]]]:
        """By path: the source, whether its pattern is new, and the file's identity; those written last, if too many."""
        found: dict[str, tuple[str, bool, tuple[int, int]]] = {}
        changed: dict[str, float] = {}
        for source, pattern in self._patterns:
            is_new = (source, pattern) not in self._known
            for path in glob.glob(pattern, recursive=True):
                with contextlib.suppress(OSError):
                    status = os.stat(path)
                    if path not in found and stat.S_ISREG(status.st_mode) and not path.endswith(PACKED_FILES):
                        found[path] = (source, is_new, (status.st_dev, status.st_ino))
                        changed[path] = status.st_mtime
        if len(found) > self.MOST:
            self._tell("most", f"{len(found)} files are too many: the {self.MOST} written last are followed")
            newest = sorted(found, key=lambda path: -changed[path])[: self.MOST]
            found = {path: found[path] for path in newest}
        return found

    def _follow(self, path: str, source: str, is_new: bool) -> None:
        file = open(path, "rb", 0)  # noqa: SIM115 (it is followed for as long as it is there)
        source = source or os.path.basename(path)
        place = next((place for place in self._places if is_same_file(file, place)), None)
        former = [each for each in self._places if each["path"] == path]
        self._places = [each for each in self._places if each is not place and each not in former]
        if place is not None:
            at = place["at"]
        elif former:
            at = 0
        else:
            at = end_of(file) if is_new and not self._from_start else 0
        self._begin(Followed(path, source, file, at, self._joins))
        for each in former:
            if each is not place:
                self._finish_moved(each, source)

    def _begin(self, followed: Followed) -> None:
        if followed.identity in self._open:
            followed.close()
        else:
            self._open[followed.identity] = followed

    def _finish_moved(self, place: dict[str, Any], source: str) -> None:
        """The file was rotated while nobody looked: what is left of the old one is beside the new one."""
        folder = os.path.dirname(place["path"])
        for name in os.listdir(folder or "."):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == place["inode"]:
                    file = open(path, "rb", 0)  # noqa: SIM115 (it is followed until it is at its end)
                    if is_same_file(file, place):
                        self._begin(Followed(path, source, file, place["at"], self._joins))
                        return
                    file.close()

    def remembered(self) -> dict[str, Any]:
        """From where another life goes on, as JSON can say it."""
        places = [*self._places, *(followed.place() for followed in self._open.values())]
        return {"patterns": sorted(map(list, self._known)), "places": places[-self.PLACES :]}

    def close(self) -> None:
        for followed in self._open.values():
            followed.close()
        self._open.clear()


def end_of(file: Any) -> int:
    """Behind the last line that is finished: half a line there will be finished soon."""
    size = file.seek(0, os.SEEK_END)
    begin = max(0, size - LONGEST_LINE)
    file.seek(begin)
    last = file.read(size - begin).rfind(b"\n")
    return int(begin + last + 1) if last >= 0 else int(begin)


def reading_hint() -> str:
    who = getpass.getuser() if hasattr(os, "geteuid") else "this account"
    return f"May {who} read it? Groups that may are mostly adm and systemd-journal"


class Journal:
    """What journalctl tells. `cursor` is the last entry that was handed on; "" begins with what is written next."""

    FIELDS = "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_COMM,_PID,_SYSTEMD_UNIT"
    LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
    PAUSE_S = 60.0
    PATIENCE_S = 10.0
    LONGEST = 4 * MB

    def __init__(
        self,
        cursor: str,
        from_start: bool = False,
        follows: bool = True,
        tell: Callable[[str, str], None] = lambda subject, text: None,
    ) -> None:
        """`follows`: goes on for ever; else it ends with the newest entry, and the next poll asks again."""
        self.cursor = cursor
        self._follows = follows
        self._from_start = from_start
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""
        self._not_before = -math.inf
        self._instants = Instants()

    def poll(self, most_bytes: int) -> list[Entry]:
        """Entries that were written since, of about so many bytes."""
        if self._process is None and not self._start():
            return []
        entries: list[Entry] = []
        size = 0
        while size < most_bytes:
            chunk = self._read()
            if chunk is None:
                break
            if not chunk:
                self._ended()
                break
            size += len(chunk)
            entries += self._entries(chunk)
        return entries

    def _start(self) -> bool:
        if time.monotonic() < self._not_before:
            return False
        try:
            if not self.cursor and not self._from_start:
                self.cursor = self._newest()
            where = ["--after-cursor", self.cursor] if self.cursor else []
            tail = ["--follow"] if self._follows else []
            self._process = subprocess.Popen(
                self._command(*tail, "--no-tail", *where),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._tell("journal", f"cannot read the journal: {error}")
            self._not_before = time.monotonic() + self.PAUSE_S
            return False
        if self._follows:
            os.set_blocking(self._process.stdout.fileno(), False)  # type: ignore[union-attr]
        return True

    def _command(self, *more: str) -> list[str]:
        # --all: long fields would be left out.
        return [
            "journalctl",
            "--no-pager",
            "--all",
            "--output=json",
            "--output-fields=" + self.FIELDS,
            *more,
        ]

    def _newest(self) -> str:
        """The cursor of the newest entry, "" when there is none."""
        done = subprocess.run(self._command("--lines=1"), capture_output=True, timeout=30, check=False)
        if b"not seeing messages" in done.stderr:
            self._tell("partly", f"the journal shows only a part of its messages. {reading_hint()}")
        try:
            return str(json.loads(done.stdout.decode("utf-8", "replace").splitlines()[-1])["__CURSOR"])
        except (ValueError, KeyError, IndexError):
            return ""

    def _read(self) -> bytes | None:
        """b"" at the end; None when there is nothing more for now."""
        assert self._process is not None
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        is_ready = select.select([output], [], [], 0 if self._follows else self.PATIENCE_S)[0]
        return os.read(output, 64 * KB) if is_ready else None

    def _ended(self) -> None:
        """It was killed, or says why it cannot."""
        process, self._process, self._rest = self._process, None, b""
        assert process is not None
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stderr.read().decode("utf-8", "replace").strip().splitlines()
        process.stdout.close()
        process.stderr.close()
        code = process.wait()
        if code != 0 or self._follows:
            self._not_before = time.monotonic() + self.PAUSE_S
        if code > 0:
            words = said[-1].rstrip(".") if said else f"journalctl ended with {code}"
            self._tell("journal", f"cannot read the journal: {words}. {reading_hint()}")

    def _entries(self, chunk: bytes) -> list[Entry]:
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > self.LONGEST:
            self._rest = b"{"  # no JSON any more, whatever follows
        return [entry for line in lines for entry in self._entry(line)]

    def _entry(self, line: bytes) -> list[Entry]:
        try:
            said = json.loads(line.decode("utf-8", "replace"))
            at_ns = int(said["__REALTIME_TIMESTAMP"]) * 1000
            self.cursor = str(said["__CURSOR"])
        except (ValueError, KeyError, TypeError):
            return []
        text = _field(said.get("MESSAGE")).rstrip()
        if not text:
            return []
        facts = {"unit": _field(said.get("_SYSTEMD_UNIT")), "pid": _field(said.get("_PID"))}
        priority = _field(said.get("PRIORITY"))
        if priority in list("01234567"):
            facts["level"] = self.LEVELS[int(priority)]
        cut = len(text) - LONGEST_LINE
        if cut > 0:
            text, facts["cut_bytes"] = text[:LONGEST_LINE], str(cut)
        named = _field(said.get("SYSLOG_IDENTIFIER")) or facts["unit"] or _field(said.get("_COMM")) or "journal"
        return [Entry(named, self._instants(at_ns), text, {name: fact for name, fact in facts.items() if fact})]

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def _field(value: object) -> str:
    """A field of the journal is text, or the numbers of its bytes; one that is said more than once is a list."""
    if isinstance(value, list):
        if value and all(isinstance(number, int) for number in value):
            return bytes(number & 255 for number in value).decode("utf-8", "replace")
        return _field(value[0]) if value else ""
    return value if isinstance(value, str) else ""


class Shelf:
    """Lines that wait, in their order, in batches; with each batch stands from where reading goes on behind it.

    A batch is on the disk before the place that was read is: a kill in between repeats nothing, because the place is
    in the batch too. A batch that is sent again is cut into the same bodies again.
    """

    def __init__(self, spool: Spool, path: str, most_bytes: int) -> None:
        self._spool = spool
        self._path = path
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._unwritten: bytes | None = None
        self._head = b""
        self._entries: list[bytes] = []
        self._repeats = Repeats()
        self.news = threading.Event()

    def remembered(self) -> dict[str, Any]:
        """Where an earlier life stood. Asked for once, before anything is put."""
        known: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError), open(self._path, encoding="utf-8") as file:
            said = json.load(file)
            known = said if isinstance(said, dict) else {}
        last = self._spool.last()
        return {**known, **json.loads(last.decode())["to"]} if last is not None else known

    def is_full(self) -> bool:
        """Then nothing more is read: lines wait where they were written."""
        with self._lock:
            full = self._unwritten is not None or self._spool.size() >= self._most_bytes
        if full:
            self._repeats.say("full", "lines wait where they were written: what waits here already is all it may be")
        else:
            self._repeats.over("full", "lines are read again")
        return full

    def put(self, entries: list[Entry], to: dict[str, Any]) -> None:
        """In order, with from where to go on behind them; not when it is full. No lines: only from where."""
        line = json.dumps({"to": to, "entries": entries}, ensure_ascii=False, separators=(",", ":"))
        batch = line.encode("utf-8", "replace")
        with self._lock:
            try:
                if entries:
                    self._spool.append(batch)
                _write(self._path, json.dumps(to).encode(), 0o600)
            except OSError as error:
                self._unwritten = batch if entries else None
                self._repeats.say("spool", f"cannot write down which lines wait: {error}")
            else:
                self._repeats.over("spool", "lines that wait can be written down again")
        self.news.set()

    def batch(self, most: int) -> list[bytes]:
        """At most `most` lines to send, the oldest first. They stay until they are `done`."""
        with self._lock:
            self.news.clear()
            while not self._entries:
                waiting = self._spool.peek(1) or ([self._unwritten] if self._unwritten else [])
                if not waiting:
                    return []
                self._take(waiting[0])
            return self._entries[:most]

    def _take(self, batch: bytes) -> None:
        self._head = batch
        entries = json.loads(batch.decode()).get("entries") or []
        self._entries = [json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") for entry in entries]
        if not self._entries:
            self._forget()

    def done(self, lines: list[bytes]) -> None:
        """They were taken, or are given up."""
        with self._lock:
            del self._entries[: len(lines)]
            if not self._entries:
                self._forget()

    def _forget(self) -> None:
        self._spool.forget({self._head})
        if self._unwritten == self._head:
            self._unwritten = None

    def sync(self) -> None:
        with self._lock:
            self._spool.sync()

    def close(self) -> None:
        with self._lock:
            self._spool.close()


class LogReader(threading.Thread):
    """Reads what is followed and puts it on the shelf, twice a second, or at once while there is more."""

    PAUSE_S = 0.5
    BATCH_BYTES = 256 * KB

    def __init__(self, shelf: Shelf, files: Files, journal: Journal | None, remembered: dict[str, Any]) -> None:
        super().__init__(name="log reader", daemon=True)
        self._shelf = shelf
        self._files = files
        self._journal = journal
        self._remembered = dict(remembered)
        self._has_begun = False
        self._repeats = Repeats()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                more = self.step()
            except Exception as error:  # the loop must outlive what nobody thought of
                self._repeats.say("broken", f"reading logs failed: {error!r}")
                more = False
            if not more:
                self._over.wait(self.PAUSE_S)

    def step(self) -> bool:
        """Whether there was something."""
        if self._shelf.is_full():
            return False
        entries = self._files.poll(self.BATCH_BYTES)
        if self._journal is not None:
            entries += self._journal.poll(self.BATCH_BYTES)
            self._remembered["cursor"] = self._journal.cursor
        if entries or not self._has_begun:  # where it began is where the next life goes on, though nothing came
            self._remembered["files"] = self._files.remembered()
            self._shelf.put(entries, self._remembered)
            self._has_begun = True
        return bool(entries)

    def stop(self) -> None:
        """What was read and not put is read again by the next life."""
        self._over.set()
        self.join(3.0)
        if self._journal is not None:
            self._journal.close()


# --- How it is sent ---------------------------------------------------------------------------------------------------


class AwayError(Exception):
    """Nobody answered who could be the portal; the message says what happened."""


class Answer(NamedTuple):
    """`body` is None when it is no JSON object: then somebody else answered. `ahead_s`: our clock against theirs."""

    status: int
    body: dict[str, Any] | None
    retry_after_s: float | None
    location: str
    ahead_s: float

    @property
    def message(self) -> str:
        words = (self.body or {}).get("message") or (self.body or {}).get("error")
        return str(words) if words else f"HTTP {self.status}"

    @property
    def refused(self) -> list[str]:
        parts = (self.body or {}).get("refused") or []
        return [f"{part.get('where')}: {part.get('reason')}" for part in parts if isinstance(part, dict)]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Following one would turn a POST into a GET, and hand the token to whoever is named."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Portal:
    """Where frames go. The token is read each time: a file may get a new one while this runs."""

    TIMEOUT_S = 20.0
    LONGEST_ANSWER = MB

    def __init__(self, url: str, token: Callable[[], str], ca_file: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token
        handlers: list[Any] = [_NoRedirect()]
        if self.url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca_file)))
        self._opener = urllib.request.build_opener(*handlers)

    def send(self, lines: list[bytes]) -> Answer:
        """Frames. Raises AwayError."""
        return self.post("/api/push", b"[" + b",".join(lines) + b"]")

    def post(self, path: str, body: bytes) -> Answer:
        """Raises AwayError."""
        headers = {
            "Authorization": "Bearer " + self._token(),
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "User-Agent": f"{NAME}/{VERSION} Python/{platform.python_version()}",
        }
        # Without a time in it: what is sent again is the same bytes again.
        request = urllib.request.Request(self.url + path, packed(body), headers)
        try:
            with self._opener.open(request, timeout=self.TIMEOUT_S) as response:
                return self._answer(response.status, response.headers, response.read(self.LONGEST_ANSWER))
        except urllib.error.HTTPError as error:
            with error:
                return self._answer(error.code, error.headers, error.read(self.LONGEST_ANSWER))
        except Exception as error:  # the network, TLS, a proxy, an answer that is no HTTP: each has errors of its own
            raise AwayError(f"{self.url}: {_plainly(error)}") from error

    @staticmethod
    def _answer(status: int, headers: Any, body: bytes) -> Answer:
        try:
            said = json.loads(body.decode())
        except ValueError:
            said = None
        known = said if isinstance(said, dict) else None
        date = _instant(headers.get("Date"))
        ahead = time.time() - date if date is not None else 0.0
        return Answer(status, known, _retry_after(headers.get("Retry-After")), headers.get("Location") or "", ahead)


def packed(body: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0) as file:
        file.write(body)
    return buffer.getvalue()


def _plainly(error: BaseException) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLError):
        return f"the certificate or the encryption is not right ({reason})"
    if isinstance(reason, socket.gaierror):
        return "no such name in the DNS"
    if isinstance(reason, (socket.timeout, TimeoutError)):
        return "no answer in time"
    if isinstance(reason, ConnectionRefusedError):
        return "nothing listens there"
    return str(reason) or type(reason).__name__


def _instant(date: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except (TypeError, ValueError):
        return None


def _retry_after(text: str | None) -> float | None:
    """Seconds, from either of its forms; an hour at most."""
    if not text:
        return None
    instant = _instant(text)
    try:
        seconds = float(text) if instant is None else instant - time.time()
    except ValueError:
        return None
    return min(max(seconds, 0.0), 3600.0)


class Sender(threading.Thread):
    """Sends what is in the outbox, in order, and waits as long as the portal asks."""

    MOST = 500
    WHAT, PATH = "frame", "/api/push"
    FIRST_WAIT_S = 1.0
    LONGEST_WAIT_S = 60.0
    SLOW_S = 60.0
    PAUSE_S = 0.3
    CLOCK_S = 60.0

    def __init__(self, outbox: Any, portal: Portal) -> None:
        super().__init__(name=self.WHAT + " sender", daemon=True)
        self._outbox = outbox
        self._portal = portal
        self._repeats = Repeats()
        self._failures = 0
        self._most = self.MOST

    def run(self) -> None:
        while True:
            try:
                wait_s = self.step()
            except Exception as error:  # the loop must outlive what nobody thought of
                self._repeats.say("broken", f"sending failed: {error!r}")
                wait_s = self.LONGEST_WAIT_S
            if wait_s is None:
                self._outbox.news.wait()
            else:
                time.sleep(wait_s)

    def step(self) -> float | None:
        """One request. Seconds until the next one; None: when there is something new."""
        lines = self._outbox.batch(self._most)
        if not lines:
            return None
        try:
            answer = self._send(lines)
        except AwayError as error:
            return self._wait(str(error), self._back_off())
        return self._heed(answer, lines)

    def _send(self, lines: list[bytes]) -> Answer:
        return self._portal.send(lines)

    def _is_taken(self, answer: Answer) -> bool:
        return 200 <= answer.status < 300 and answer.body is not None and "kept" in answer.body

    def _heed(self, answer: Answer, lines: list[bytes]) -> float | None:
        status = answer.status
        if self._is_taken(answer):
            return self._taken(answer, lines)
        if status == 400 and answer.body is not None and "kept" in answer.body:
            return self._refused(answer, lines)
        if status == 413:
            return self._too_big(lines)
        if status in (401, 403):
            words = (
                f"the portal refuses the token ({status}, {answer.message}). {self.WHAT.capitalize()}s wait meanwhile."
            )
            return self._wait(words, self._jitter(self.SLOW_S))
        if status in (429, 503) and answer.retry_after_s is not None:
            return self._wait(answer.message, answer.retry_after_s + random.uniform(0, 1))
        if 300 <= status < 500 and status not in (408, 425, 429):
            where = f" It names {answer.location}: is that the portal's URL?" if answer.location else ""
            words = f"{self._portal.url}{self.PATH} answers {status} ({answer.message}).{where}"
            return self._wait(words, self._jitter(self.SLOW_S))
        if 200 <= status < 300:
            return self._wait(f"what answers at {self._portal.url} is no OpenManager", self._jitter(self.SLOW_S))
        return self._wait(f"the portal answers {answer.message}", self._back_off())

    def _taken(self, answer: Answer, lines: list[bytes]) -> float | None:
        self._over(answer)
        self._most = min(self._most * 2, self.MOST)
        self._outbox.done(lines)
        return random.uniform(0, self.PAUSE_S) if len(lines) > 1 else 0.0

    def _refused(self, answer: Answer, lines: list[bytes]) -> float | None:
        """A verdict part by part is final: the rest was kept. A body that was refused whole is cut until it is known
        which line is to blame, so that none is sent for ever and none is lost for another's fault."""
        self._over(answer)
        if not answer.refused and len(lines) > 1:
            self._most = max(1, len(lines) // 2)
            return self._jitter(self.PAUSE_S)
        reasons = answer.refused[:3] or [answer.message]
        count = (answer.body or {}).get("refused_count") or len(lines)
        self._repeats.say("refused", f"the portal refused {count} for good: {'; '.join(reasons)}")
        self._outbox.done(lines)
        return self._jitter(self.PAUSE_S)

    def _too_big(self, lines: list[bytes]) -> float | None:
        if len(lines) > 1:
            self._most = max(1, len(lines) // 2)
            return self._jitter(self.PAUSE_S)
        self._repeats.say("big", f"dropped a {self.WHAT} that is too big for the portal")
        self._outbox.done(lines)
        return 0.0

    def _over(self, answer: Answer) -> None:
        """The portal answers as itself again."""
        self._failures = 0
        self._repeats.over("away", f"the portal answers again; {self.WHAT}s that waited are sent")
        if abs(answer.ahead_s) > self.CLOCK_S:
            self._repeats.say("clock", clock_words(answer.ahead_s))

    def _wait(self, words: str, seconds: float) -> float:
        self._repeats.say("away", words)
        self._outbox.sync()
        return seconds

    def _back_off(self) -> float:
        self._failures += 1
        return self._jitter(min(self.LONGEST_WAIT_S, self.FIRST_WAIT_S * 2 ** min(self._failures - 1, 10)))

    @staticmethod
    def _jitter(seconds: float) -> float:
        """So that a thousand agents do not come back in the same second."""
        return seconds * random.uniform(0.5, 1.0)


class LineSender(Sender):
    """Sends lines of logs, as Loki takes them; the portal does too."""

    MOST = 5000
    WHAT, PATH = "line", "/loki/api/v1/push"

    def __init__(self, shelf: Shelf, portal: Portal, host: str) -> None:
        super().__init__(shelf, portal)
        self._host = host

    def _send(self, lines: list[bytes]) -> Answer:
        return self._portal.post(self.PATH, self.body(lines))

    def body(self, lines: list[bytes]) -> bytes:
        """The same for the same lines."""
        streams: dict[tuple[str, str], list[Any]] = {}
        for line in lines:
            source, at_ns, text, facts = json.loads(line.decode())
            stream = streams.setdefault((source, facts.pop("filename", "")), [])
            stream.append([str(at_ns), text, facts] if facts else [str(at_ns), text])
        pushed = [{"stream": self._labels(*stream), "values": values} for stream, values in streams.items()]
        return json.dumps({"streams": pushed}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def _labels(self, source: str, path: str) -> dict[str, str]:
        labels = {"host": self._host, "source": source}
        return {**labels, "filename": path} if path else labels

    def _is_taken(self, answer: Answer) -> bool:
        return answer.status == 204 or super()._is_taken(answer)


def clock_words(ahead_s: float) -> str:
    minutes = abs(ahead_s) / 60
    side = "ahead of" if ahead_s > 0 else "behind"
    return f"the clock of this machine is {minutes:.0f} min {side} the portal's: is time synchronisation on?"


# --- What it is told --------------------------------------------------------------------------------------------------


class Settings(NamedTuple):
    url: str
    token_file: str
    token: str
    ca_file: str
    name: str
    kind: str
    description: str
    interval_s: int
    spool: str
    spool_mb: int
    proc: str
    files: List[Tuple[str, str]]  # noqa: UP006 (it is evaluated, by old Pythons too)
    journal: bool
    from_start: bool
    separate_lines: bool
    log_spool_mb: int

    @property
    def sends_lines(self) -> bool:
        return bool(self.files or self.journal)

    def read_token(self) -> str:
        """Exits when there is none, or none that can be sent."""
        if self.token_file:
            try:
                with open(self.token_file, encoding="utf-8") as file:
                    token = file.read().strip()
            except (OSError, ValueError) as error:
                stop(f"cannot read the token file: {error}")
        else:
            token = self.token.strip()
        if not re.fullmatch(r"[!-~]+", token):
            stop(
                "a token is needed: --token-file FILE, or OPENMANAGER_TOKEN in the environment. "
                "The portal makes one on its page “Add a server”"
            )
        return token

    def latest_token(self) -> str:
        """As `read_token`, for who runs on: a file that is being replaced is no reason to end."""
        try:
            return self.read_token()
        except SystemExit as error:
            raise AwayError(str(error)) from None

    def portal(self) -> Portal:
        """Exits when the URL is none."""
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            stop("the portal's URL is needed: --url https://monitor.example.org")
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
            say("http: everyone on the way can read the token; use https where the portal has it")
        try:
            return Portal(self.url, self.latest_token, self.ca_file or None)
        except (OSError, ValueError) as error:
            stop(f"cannot read the certificates: {error}")

    def frame(self, values: Values) -> bytes:
        """One line of JSON, with everything that the portal must know of it."""
        frame: dict[str, Any] = {"host": self.name, "at": round(time.time(), 3), "interval": self.interval_s}
        frame.update({key: text for key, text in (("kind", self.kind), ("description", self.description)) if text})
        frame["metrics"] = values
        text = json.dumps(frame, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def stop(words: str) -> NoReturn:
    raise SystemExit(NAME + ": " + words)


def default_spool() -> str:
    if os.environ.get("STATE_DIRECTORY"):
        return os.environ["STATE_DIRECTORY"].partition(":")[0]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return "/var/lib/" + NAME
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, NAME)


_DOES = [
    ("once", "print what would be sent, and send nothing"),
    ("check", "send one frame and say whether all is well"),
    ("install", "run always, as a service of systemd"),
    ("uninstall", "undo --install"),
]


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=NAME, description="Measures this machine and sends that to an OpenManager portal.", allow_abbrev=False
    )
    add = parser.add_argument
    environment = os.environ.get
    add("--url", default=environment("OPENMANAGER_URL", ""), help="the portal (or OPENMANAGER_URL in the environment)")
    add("--token-file", default="", metavar="FILE", help="a file with the token; may be replaced while this runs")
    add(
        "--token",
        default=environment("OPENMANAGER_TOKEN", ""),
        help="the token itself; better not, everyone on this machine sees it in `ps`: use --token-file, or "
        "OPENMANAGER_TOKEN in the environment",
    )
    add("--name", default=socket.gethostname(), help="of the server in the portal (%(default)s)")
    add("--kind", default="", help="of server, for one that joins: host, web, app, database, …")
    add("--description", default="", help="for a server that joins")
    add("--interval", type=_interval, default=10, metavar="SECONDS", help="between two measurements (%(default)s)")
    add("--ca-file", default="", metavar="FILE", help="certificates to trust instead of the system's")
    add(
        "--spool",
        default="",
        metavar="FOLDER",
        help=f"where frames wait while the portal is away ({default_spool()})",
    )
    add("--spool-mb", type=int, default=64, metavar="MB", help="what the spool may hold (%(default)s)")
    add("--proc", default="/proc", metavar="FOLDER", help="the machine's /proc, where it is mounted elsewhere")
    logs = parser.add_argument_group("what is written into logs").add_argument
    logs(
        "--file",
        action="append",
        default=[],
        metavar="[SOURCE=]PATTERN",
        help="follow the files that the pattern names, through rotation, for example '/var/log/nginx/*.log' or "
        "shop='/srv/shop/**/*.log'; may be given more than once",
    )
    logs("--journal", action="store_true", help="follow the journal of this machine (journalctl)")
    logs(
        "--from-start",
        action="store_true",
        help="send what files and the journal have already, too, when they are followed for the first time",
    )
    logs("--separate-lines", action="store_true", help="each line by itself: join no stack traces")
    logs(
        "--log-spool-mb",
        type=int,
        default=64,
        metavar="MB",
        help="what lines may take in the spool; then they wait where they were written (%(default)s)",
    )
    what = parser.add_mutually_exclusive_group()
    for word, does in _DOES:
        what.add_argument("--" + word, action="store_const", dest="what", const=word, help=does)
    add("--user", action="store_true", help="with --install: as a service of this account, also when it is root")
    add("--destination", default="", metavar="FOLDER", help="with --install: for an image that is mounted there")
    parser.add_argument("--version", action="version", version=f"{NAME} {VERSION}")
    return parser.parse_args(arguments)


def _interval(text: str) -> int:
    seconds = int(text)
    if not 1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("use 1 to 3600 seconds")
    return seconds


def settings_of(options: argparse.Namespace) -> Settings:
    return Settings(
        url=options.url.strip().rstrip("/"),
        token_file=options.token_file,
        token=options.token,
        ca_file=options.ca_file,
        name=options.name.strip(),
        kind=options.kind,
        description=options.description,
        interval_s=options.interval,
        spool=options.spool or default_spool(),
        spool_mb=options.spool_mb,
        proc=options.proc,
        files=[pattern_of(said) for said in options.file],
        journal=options.journal,
        from_start=options.from_start,
        separate_lines=options.separate_lines,
        log_spool_mb=max(1, options.log_spool_mb),
    )


def pattern_of(said: str) -> tuple[str, str]:
    """(source, pattern) of an option `--file`. A path may have "=" in it, a source has no folder."""
    source, equals, pattern = said.partition("=")
    if not equals or "/" in source or os.sep in source:
        source, pattern = "", said
    return source.strip(), os.path.abspath(os.path.expanduser(pattern))


# --- What it does -----------------------------------------------------------------------------------------------------

FIRST_S = 1.0
"""Between the first reading, which has no rates, and the first frame."""


def first_values(settings: Settings) -> Values:
    meter = Meter(this_machine(settings.proc))
    meter.read()
    time.sleep(FIRST_S)
    return meter.read()


def once(settings: Settings) -> int:
    print(json.dumps(json.loads(settings.frame(first_values(settings)).decode()), indent=2, ensure_ascii=False))
    return 0


def check(settings: Settings) -> int:
    """0 when all is well."""
    settings.read_token()
    portal = settings.portal()
    values = first_values(settings)
    headlines = [f"{name} {values[name]:g} %" for name in ("cpu", "memory", "disk") if name in values]
    print(f"{settings.name}: {', '.join(headlines) or 'nothing known'}; {len(values)} values read.")
    for words in lines_found(settings):
        print(words)
    try:
        answer = portal.send([settings.frame(values)])
    except AwayError as error:
        print(f"The portal cannot be reached. {error}")
        return 1
    well, words = verdict(settings, answer)
    print(words)
    if abs(answer.ahead_s) > Sender.CLOCK_S:
        print(f"But {clock_words(answer.ahead_s)}")
    return 0 if well else 1


def lines_found(settings: Settings) -> Iterator[str]:
    """What there is to follow, and what may not be read."""
    for _, pattern in settings.files:
        paths = [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]
        closed = [path for path in paths if not os.access(path, os.R_OK)]
        yield f"{pattern}: {len(paths)} files." + (f" Not for us: {', '.join(closed[:5])}." if closed else "")
    if settings.journal:
        told: list[str] = []
        journal = Journal("", follows=False, tell=lambda _, text: told.append(text))
        journal.poll(1)
        journal.close()
        yield f"Journal: {'; '.join(told) or ('can be read' if journal.cursor else 'nothing is in it')}."


def verdict(settings: Settings, answer: Answer) -> tuple[bool, str]:
    """Whether all is well, and what a person should know."""
    if answer.body is None or answer.status in (301, 302, 303, 307, 308, 404, 405):
        where = f", which names {answer.location}" if answer.location else ""
        return False, f"{settings.url} is no OpenManager (HTTP {answer.status}{where}). Is the URL right?"
    if answer.status in (401, 403):
        return False, f"The portal refuses the token: {answer.message}."
    if "kept" not in answer.body:
        return False, f"The portal answers {answer.status}: {answer.message}."
    kept = answer.body["kept"]
    if answer.refused:
        return False, f"The portal kept {kept} values and refused others: {'; '.join(answer.refused[:5])}."
    if answer.status >= 300:
        return False, f"The portal answers {answer.status}: {answer.message}."
    return True, f"All is well: the portal kept {kept} values. Look at {settings.name} on {settings.url}/"


class Bell:
    """Rung by a signal, waited for by the main loop; a lock must not be taken in a signal's handler."""

    def __init__(self) -> None:
        self._heard, self._rope = socket.socketpair()
        self._rope.setblocking(False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ring)

    def _ring(self, *_: Any) -> None:
        with contextlib.suppress(OSError):
            self._rope.send(b".")

    def rings_within(self, seconds: float) -> bool:
        return bool(select.select([self._heard], [], [], max(0.0, seconds))[0])

    def close(self) -> None:
        self._heard.close()
        self._rope.close()


def run(settings: Settings) -> int:
    """Until SIGTERM or SIGINT."""
    settings.read_token()
    portal = settings.portal()
    held = hold(settings.spool)
    outbox = Outbox(Spool(settings.spool, settings.spool_mb * MB))
    meter = Meter(this_machine(settings.proc))
    bell = Bell()
    say(f"{settings.name} is measured every {settings.interval_s} s for {settings.url}")
    Sender(outbox, portal).start()
    lines = Lines(settings, portal) if settings.sends_lines else None
    meter.read()
    due = time.monotonic() + min(FIRST_S, settings.interval_s)
    while not bell.rings_within(due - time.monotonic()):
        outbox.put(settings.frame(meter.read()))
        due += settings.interval_s
        if due < time.monotonic():  # the machine slept
            due = time.monotonic() + settings.interval_s
    outbox.close()
    if lines is not None:
        lines.close()
    bell.close()
    if held is not None:
        held.close()
    return 0


class Lines:
    """What is written into logs, followed and sent, in two threads."""

    def __init__(self, settings: Settings, portal: Portal) -> None:
        most = settings.log_spool_mb * MB
        # Its own bound is never reached: reading stops before.
        spool = Spool(settings.spool, most + 8 * MB, "lines")
        self._shelf = Shelf(spool, os.path.join(settings.spool, "read-to.json"), most)
        remembered = self._shelf.remembered()
        tell = Repeats().say
        files = Files(
            settings.files, remembered.get("files") or {}, settings.from_start, not settings.separate_lines, tell
        )
        journal = Journal(remembered.get("cursor") or "", settings.from_start, tell=tell) if settings.journal else None
        self._reader = LogReader(self._shelf, files, journal, remembered)
        self._reader.start()
        LineSender(self._shelf, portal, settings.name).start()

    def close(self) -> None:
        self._reader.stop()
        self._shelf.close()


def hold(folder: str) -> Any | None:
    """The spool for this process alone. Exits when another has it; None where nothing can be written."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        file = open(os.path.join(folder, "lock"), "w")  # noqa: SIM115 (held as long as the process lives)
    except OSError as error:
        say(f"frames cannot wait on the disk: {error}")
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stop(f"another agent uses {folder}; is the service running? A second one needs its own --spool")
    return file


# --- As a service -----------------------------------------------------------------------------------------------------

# DynamicUser already makes the file system read-only and /home too. What hides processes or parts of /proc would make
# the numbers wrong, and is therefore not here: ProtectProc, ProcSubset, ProtectHome=yes.
_HARDENING = """DynamicUser=yes
StateDirectory={name}
StateDirectoryMode=0700
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
CapabilityBoundingSet=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
MemoryMax=128M
TasksMax=16
"""
_UNIT = """[Unit]
Description=OpenManager agent
Documentation={url}
Wants=network-online.target
After=network-online.target

[Service]
ExecStart={command}
EnvironmentFile={environment}
Restart=always
RestartSec=5
{hardening}
[Install]
WantedBy={target}
"""


class Home(NamedTuple):
    """Where an installed agent has its things."""

    program: str
    environment: str
    unit: str
    spool: str
    systemctl: list[str]
    whole_machine: bool


def home_of(options: argparse.Namespace) -> Home:
    if os.name != "posix":
        stop("--install knows systemd only; run this file by your system's own scheduler")
    unit = NAME + ".service"
    if os.geteuid() == 0 and not options.user:
        return Home(
            f"/usr/local/lib/{NAME}/agent.py",
            f"/etc/{NAME}/environment",
            "/etc/systemd/system/" + unit,
            "/var/lib/" + NAME,
            ["systemctl"],
            True,
        )
    here = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(here, ".config")
    return Home(
        os.path.join(here, ".local/lib", NAME, "agent.py"),
        os.path.join(config, NAME, "environment"),
        os.path.join(config, "systemd/user", unit),
        os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.join(here, ".local/state"), NAME),
        ["systemctl", "--user"],
        False,
    )


def install(settings: Settings, options: argparse.Namespace) -> int:
    """Writes the program, its environment with the token (mode 600) and the unit; then has systemd start it."""
    token = settings.read_token()
    settings.portal()
    home = home_of(options)
    under = options.destination.rstrip("/")
    command = " ".join(_unit_word(word) for word in command_of(settings, home))
    with open(os.path.abspath(__file__), "rb") as file:
        _write(under + home.program, file.read(), 0o755)
    _write(under + home.environment, f"OPENMANAGER_TOKEN={token}\n".encode(), 0o600)
    _write(under + home.unit, unit_text(settings, home, command).encode(), 0o644)
    for path in (home.program, home.environment, home.unit):
        print(f"wrote {under}{path}")
    if under:
        print(f"Enable {NAME}.service in the image.")
        return 0
    if shutil.which("systemctl") is None:
        print("There is no systemctl here. Have your system run this at its start, for example by cron's @reboot:")
        print(f"  set -a; . {home.environment}; exec {' '.join(map(shlex.quote, command_of(settings, home)))}")
        return 0
    return _enable(home)


def command_of(settings: Settings, home: Home) -> list[str]:
    command = [sys.executable, home.program, "--url", settings.url, "--name", settings.name, "--spool", home.spool]
    command += ["--interval", str(settings.interval_s), "--spool-mb", str(settings.spool_mb)]
    for option, text in (("--kind", settings.kind), ("--description", settings.description)):
        command += [option, text] if text else []
    if settings.ca_file:
        command += ["--ca-file", os.path.abspath(settings.ca_file)]
    return command + line_options(settings)


def line_options(settings: Settings) -> list[str]:
    if not settings.sends_lines:
        return []
    options = ["--log-spool-mb", str(settings.log_spool_mb)]
    for source, pattern in settings.files:
        options += ["--file", f"{source}={pattern}" if source else pattern]
    switches = {
        "--journal": settings.journal,
        "--from-start": settings.from_start,
        "--separate-lines": settings.separate_lines,
    }
    return options + [switch for switch, is_on in switches.items() if is_on]


def groups_that_read_logs() -> list[str]:
    """Those of this machine: a unit that names a group that is not there does not start."""
    import grp

    there = {group.gr_name for group in grp.getgrall()}
    return [name for name in ("systemd-journal", "adm") if name in there]


def unit_text(settings: Settings, home: Home, command: str) -> str:
    return _UNIT.format(
        url=settings.url.replace("%", "%%"),
        command=command,
        environment=home.environment.replace("%", "%%"),
        hardening=_hardening(settings) if home.whole_machine else "NoNewPrivileges=yes\n",
        target="multi-user.target" if home.whole_machine else "default.target",
    )


def _hardening(settings: Settings) -> str:
    groups = " ".join(groups_that_read_logs()) if settings.sends_lines else ""
    return _HARDENING.format(name=NAME) + (f"SupplementaryGroups={groups}\n" if groups else "")


def _unit_word(text: str) -> str:
    """As systemd reads a command: specifiers and variables are plain text here."""
    plain = " ".join(text.split("\n"))
    for sign, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        plain = plain.replace(sign, escaped)
    return f'"{plain}"' if re.search(r"[^\w/.:@=-]", plain) or not plain else plain


def _write(path: str, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others for a moment."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    opened, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(opened, "wb") as file:
        file.write(content)
    os.chmod(name, mode)
    os.replace(name, path)


def _enable(home: Home) -> int:
    systemctl = " ".join(home.systemctl)
    for words in (["daemon-reload"], ["enable", NAME], ["restart", NAME]):
        if subprocess.call([*home.systemctl, *words]) != 0:
            print(f"“{systemctl} {words[0]}” failed, see above. Once systemd runs: {systemctl} enable --now {NAME}")
            return 1
    print(f"It runs, and will after each start of the machine. Look: {systemctl} status {NAME}")
    if not home.whole_machine:
        who = getpass.getuser()
        print(f"It ends when {who} signs out; to let it run always: sudo loginctl enable-linger {who}")
    return 0


def uninstall(options: argparse.Namespace) -> int:
    """Also what waits in the spool and the token."""
    home = home_of(options)
    under = options.destination.rstrip("/")
    if not under and shutil.which("systemctl"):
        subprocess.call([*home.systemctl, "disable", "--now", NAME])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(under + home.unit)
    private = "/var/lib/private/" + NAME  # where systemd really keeps the state of a dynamic user
    folders = [os.path.dirname(home.program), os.path.dirname(home.environment), home.spool]
    for folder in [*folders, private] if home.whole_machine else folders:
        if os.path.islink(under + folder):
            os.unlink(under + folder)
        shutil.rmtree(under + folder, ignore_errors=True)
    if not under and shutil.which("systemctl"):
        subprocess.call([*home.systemctl, "daemon-reload"])
    print("Removed. The server stays in the portal, with its history.")
    return 0


def main(arguments: list[str] | None = None) -> int:
    options = read_arguments(arguments)
    settings = settings_of(options)
    if options.what == "install":
        return install(settings, options)
    if options.what == "uninstall":
        return uninstall(options)
    return {"once": once, "check": check}.get(options.what, run)(settings)


if __name__ == "__main__":
    sys.exit(main())
