"""The numbers of the agent are this machine's, and the same as those of the portal's own collectors."""

from __future__ import annotations

import ast
import json
import math
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from monitoring.catalogue import BY_NAME
from monitoring.collectors import host
from monitoring.models import Source
from portal.toolkit import redis
from tests.agent.conftest import PROGRAM, Machine

STEADY = ("memory_total", "disk_total", "cpu_cores", "disk", 'disk_used_share{mount="/"}')
MOVING = {"memory": 5, "memory_used": 1500, "uptime": 30, "processes": 40, "load15": 2}
"""How much they may differ while other programs start and end."""


def once(machine: Machine, *options: str) -> dict[str, Any]:
    result = machine.ask("--once", *options)
    assert result.returncode == 0, result.stderr
    frame: dict[str, Any] = json.loads(result.stdout)
    return frame


def test_it_is_one_file_of_the_standard_library_for_old_machines() -> None:
    tree = ast.parse(PROGRAM.read_text(), feature_version=(3, 7))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"psutil"}


def test_once_prints_what_it_would_send_and_sends_nothing(machine: Machine) -> None:
    machine.url = ""
    frame = once(machine, "--kind", "web", "--description", "Ü", "--interval", "15")
    assert (frame["host"], frame["kind"], frame["description"], frame["interval"]) == ("web-1", "web", "Ü", 15)
    assert abs(frame["at"] - time.time()) < 60
    assert {name.partition("{")[0] for name in frame["metrics"]} <= BY_NAME.keys()


def test_the_numbers_are_those_of_psutil(machine: Machine) -> None:
    values = once(machine)["metrics"]
    memory, disk = psutil.virtual_memory(), psutil.disk_usage("/")
    assert values["memory_total"] == round(memory.total / 1024**2)
    assert values["memory"] == pytest.approx(memory.percent, abs=MOVING["memory"])
    assert values["cpu_cores"] == psutil.cpu_count()
    assert values["disk"] == pytest.approx(disk.percent, abs=1)
    assert values["disk_total"] == round(disk.total / 1024**2)
    assert values["processes"] == pytest.approx(len(psutil.pids()), abs=MOVING["processes"])
    assert values["uptime"] == pytest.approx(time.time() - psutil.boot_time(), abs=MOVING["uptime"])
    assert values["load15"] == pytest.approx(psutil.getloadavg()[2], abs=MOVING["load15"])
    assert 0 <= values["cpu"] <= 100


def test_the_portal_on_this_machine_sees_the_same(machine: Machine) -> None:
    redis.client().flushdb()
    theirs = {"": math.nan}
    deadline = time.monotonic() + 10
    while not all(map(math.isfinite, theirs.values())) and time.monotonic() < deadline:
        time.sleep(0.1)  # in which the clock of a core does not always tick
        theirs = {_written(name.metric, name.labels): value for name, value in _collected().items()}
    ours = once(machine)["metrics"]
    assert ours.keys() == theirs.keys()
    assert {name: ours[name] for name in STEADY} == pytest.approx({name: theirs[name] for name in STEADY}, abs=1)
    for name, most in MOVING.items():
        assert ours[name] == pytest.approx(theirs[name], abs=most), name


def _collected() -> dict[Any, float]:
    return dict(host.collect(Source(pk=1), time.time_ns() // 1_000_000).values)


def _written(metric: str, labels: str) -> str:
    return metric + "".join(f'{{{name}="{text}"}}' for name, text in json.loads(labels or "{}").items())


def test_without_proc_psutil_is_asked_and_says_the_same(machine: Machine) -> None:
    theirs = once(machine, "--proc", "/nowhere")["metrics"]
    ours = once(machine)["metrics"]
    assert ours.keys() == theirs.keys()
    for name, most in MOVING.items():
        assert ours[name] == pytest.approx(theirs[name], abs=most), name


PROC = {
    "stat": "cpu  9 9 9 9\ncpu0 100 0 50 800 50 0 0 0 40 0\ncpu1 0 0 0 1000 0 0 0 0 0 0\nintr 1\n",
    "loadavg": "1.50 0.75 0.255 2/300 4711\n",
    "meminfo": "MemTotal: 4096000 kB\nMemFree: 1024000 kB\nMemAvailable: 9999999 kB\n"
    "SwapTotal: 1000 kB\nSwapFree: 250 kB\nHugePages_Total: 0\n",
    "filesystems": "nodev\tproc\nnodev\tnfs\n\text4\n",
    "self/mounts": "proc /proc proc rw 0 0\nnas:/x /nas nfs rw 0 0\n"
    "/dev/vda1 / ext4 rw 0 0\n/dev/vda1 /a\\040b ext4 rw 0 0\n",
    "diskstats": " 254 0 vda 1 0 2000 0 1 0 4000 0 0 0 0\n 254 1 vda1 1 0 9999999 0 1 0 9999999 0 0 0 0\n",
    "net/dev": "Inter-| Receive\n face |bytes\n  lo: 5 0 0 0 0 0 0 0 5 0 0 0 0 0 0 0\n"
    "eth0:1024 0 0 0 0 0 0 0 2048 0 0 0 0 0 0 0\n",
    "net/snmp": "Ip: Forwarding\nIp: 1\nTcp: RtoMin CurrEstab\nTcp: 200 17\n",
    "uptime": "86400.25 100.0\n",
    "4711/comm": "sh\n",
    "12/comm": "init\n",
}


def write_proc(folder: Path, **changed: str) -> None:
    for name, text in {**PROC, **{name.replace("__", "/"): text for name, text in changed.items()}}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_rules_hold_on_a_machine_that_has_everything(agent: ModuleType, tmp_path: Path, monkeypatch: Any) -> None:
    seconds = iter([100.0, 110.0])
    monkeypatch.setattr(agent.Counters, "begin", _at(agent, seconds))
    write_proc(tmp_path)
    meter = agent.Meter(agent.Linux(str(tmp_path)))
    assert "cpu" not in meter.read()
    write_proc(
        tmp_path,
        # 40 of the 100 were a guest's, and are in `user` already; the disk was waited for 20 of the 200.
        stat="cpu  9 9 9 9\ncpu0 180 0 70 880 70 0 0 0 80 0\ncpu1 0 0 0 1200 0 0 0 0 0 0\n",
        diskstats=" 254 0 vda 1 0 22480 0 1 0 44960 0 0 0 0\n 254 1 vda1 1 0 0 0 1 0 0 0 0 0 0\n",
        net__dev="Inter-| Receive\n face |bytes\n  lo: 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0 0\n"
        "eth0:11264 0 0 0 0 0 0 0 512 0 0 0 0 0 0 0\n",
    )
    values = meter.read()
    assert values['cpu_core{core="0"}'] == 50.0
    assert values['cpu_core{core="1"}'] == 0.0
    assert values["cpu"] == 25.0
    assert (values["load1"], values["load5"], values["load15"]) == (1.5, 0.75, 0.26)
    assert values["memory"] == 75.0, "a container is told of its host's memory"
    assert values["swap"] == 75.0
    assert (values["disk_read"], values["disk_write"]) == (1024.0, 2048.0)
    assert (values["net_rx"], values["net_tx"]) == (1.0, 0.1), "a counter that is lower began again at 0"
    assert (values["processes"], values["connections"], values["uptime"]) == (2, 17, 86400)
    assert [name for name in values if "mount" in name] == ['disk_used_share{mount="/"}']


def _at(agent: ModuleType, seconds: Any) -> Any:
    def begin(counters: Any) -> None:
        now = next(seconds)
        counters.seconds, counters._at = now - counters._at, now
        counters._before, counters._now = counters._now, {}

    return begin


def test_what_cannot_be_read_is_left_out_and_said_once(agent: ModuleType, tmp_path: Path, capsys: Any) -> None:
    write_proc(tmp_path)
    (tmp_path / "meminfo").unlink()
    meter = agent.Meter(agent.Linux(str(tmp_path)))
    meter.read()
    values = meter.read()
    assert "load1" in values
    assert "memory" not in values
    assert capsys.readouterr().err.count("cannot read memory") == 1


def test_a_disk_that_hangs_does_not_hold_up_the_rest(agent: ModuleType, monkeypatch: Any) -> None:
    machine, answered = agent.Linux("/proc"), threading.Event()
    monkeypatch.setattr(agent.Meter, "PATIENCE_S", 0.05)
    monkeypatch.setattr(machine, "mounts", lambda: [answered.wait(30)])
    values = agent.Meter(machine).read()
    answered.set()
    assert "load1" in values
    assert "disk" not in values
