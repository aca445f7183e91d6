#!/usr/bin/env python3
"""The OpenManager agent: measures the machine that it runs on and sends that to an OpenManager portal.

One file, Python 3.7 or newer, nothing to install. It only makes connections, never takes any, and needs no root.

    python3 agent.py --url https://monitor.example.org --token-file token --check      does it work?
    sudo python3 agent.py --url https://monitor.example.org --token-file token --install

While the portal is away the frames wait on the disk, for three days at most, and are sent when it is back.
"""

# The rules by which numbers are computed are those of the portal's own collectors (monitoring/collectors/host.py and
# measures.py): a machine shows the same numbers whichever of them reads it. This file runs without any of them.

from __future__ import annotations

import argparse
import collections
import contextlib
import email.utils
import getpass
import gzip
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
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Callable, Dict, Iterable, Iterator, NamedTuple, NoReturn

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
    NAME = re.compile(r"frames-(\d{10})\.jsonl")

    def __init__(self, folder: str, most_bytes: int) -> None:
        self._folder = folder
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
            names = sorted(filter(self.NAME.fullmatch, os.listdir(self._folder)))
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
        last = self.NAME.fullmatch(os.path.basename(self._segments[-1].path)) if self._segments else None
        number = int(last.group(1)) + 1 if last else 1
        path = os.path.join(self._folder, f"frames-{number:010d}.jsonl")
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

    def _keep_bounds(self) -> None:
        limit = time.monotonic() - self.AGE_S
        while len(self._segments) > 1:
            too_old = self._segments[0].touched < limit
            if not too_old and sum(segment.size for segment in self._segments) <= self._most_bytes:
                return
            lost = self._lines_of_oldest()
            self._drop_oldest()
            why = "waited three days" if too_old else "more than the spool may hold"
            say(f"dropped the oldest {lost} frames: {why}")

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
            if _is_frame(line):
                self._head.append((line.rstrip(b"\n"), self._read_to))
            else:
                say("left out a line of the spool that was only half written")

    def forget(self, done: set[bytes]) -> None:
        """The oldest lines as long as they are in `done`, from which they are taken too."""
        while self.peek(1) and self._head[0][0] in done:
            done.discard(self._head.popleft()[0])
            if not self._head:
                self.peek(1)  # throws away what has no more lines


def _is_frame(line: bytes) -> bool:
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
        """Raises AwayError."""
        headers = {
            "Authorization": "Bearer " + self._token(),
            "Content-Type": "application/json",
            "Content-Encoding": "gzip",
            "User-Agent": f"{NAME}/{VERSION} Python/{platform.python_version()}",
        }
        body = gzip.compress(b"[" + b",".join(lines) + b"]", 6)
        request = urllib.request.Request(self.url + "/api/push", body, headers)
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
    FIRST_WAIT_S = 1.0
    LONGEST_WAIT_S = 60.0
    SLOW_S = 60.0
    PAUSE_S = 0.3
    CLOCK_S = 60.0

    def __init__(self, outbox: Outbox, portal: Portal) -> None:
        super().__init__(name="sender", daemon=True)
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
            answer = self._portal.send(lines)
        except AwayError as error:
            return self._wait(str(error), self._back_off())
        return self._heed(answer, lines)

    def _heed(self, answer: Answer, lines: list[bytes]) -> float | None:
        status = answer.status
        if 200 <= status < 300 and answer.body is not None and "kept" in answer.body:
            return self._taken(answer, lines)
        if status == 400 and answer.body is not None and "kept" in answer.body:
            return self._refused(answer, lines)
        if status == 413:
            return self._too_big(lines)
        if status in (401, 403):
            words = f"the portal refuses the token ({status}, {answer.message}). Frames wait on the disk meanwhile."
            return self._wait(words, self._jitter(self.SLOW_S))
        if status in (429, 503) and answer.retry_after_s is not None:
            return self._wait(answer.message, answer.retry_after_s + random.uniform(0, 1))
        if 300 <= status < 500 and status not in (408, 425, 429):
            where = f" It names {answer.location}: is that the portal's URL?" if answer.location else ""
            words = f"{self._portal.url}/api/push answers {status} ({answer.message}).{where}"
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
        count = (answer.body or {}).get("refused_count", len(lines))
        self._repeats.say("refused", f"the portal refused {count} for good: {'; '.join(reasons)}")
        self._outbox.done(lines)
        return self._jitter(self.PAUSE_S)

    def _too_big(self, lines: list[bytes]) -> float | None:
        if len(lines) > 1:
            self._most = max(1, len(lines) // 2)
            return self._jitter(self.PAUSE_S)
        self._repeats.say("big", "dropped a frame that is too big for the portal")
        self._outbox.done(lines)
        return 0.0

    def _over(self, answer: Answer) -> None:
        """The portal answers as itself again."""
        self._failures = 0
        self._repeats.over("away", "the portal answers again; what waited is sent")
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
    )


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
    meter.read()
    due = time.monotonic() + min(FIRST_S, settings.interval_s)
    while not bell.rings_within(due - time.monotonic()):
        outbox.put(settings.frame(meter.read()))
        due += settings.interval_s
        if due < time.monotonic():  # the machine slept
            due = time.monotonic() + settings.interval_s
    outbox.close()
    bell.close()
    if held is not None:
        held.close()
    return 0


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
    return command


def unit_text(settings: Settings, home: Home, command: str) -> str:
    return _UNIT.format(
        url=settings.url.replace("%", "%%"),
        command=command,
        environment=home.environment.replace("%", "%%"),
        hardening=_HARDENING.format(name=NAME) if home.whole_machine else "NoNewPrivileges=yes\n",
        target="multi-user.target" if home.whole_machine else "default.target",
    )


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
