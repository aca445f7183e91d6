"""From what exporters show to the metrics of the catalogue."""

from __future__ import annotations

import math

import pytest

from monitoring.catalogue import BY_NAME
from monitoring.collectors import exposition, mapping
from monitoring.collectors.counters import Counters
from monitoring.collectors.measures import labelled, tidy
from monitoring.history.frame import SeriesName
from tests.monitoring.collectors.test_exposition import DUMP


def values_of(after: str, before: str = "", seconds: float = 10.0) -> dict[str, float]:
    """The catalogue metrics of `after`, `seconds` behind `before`; labels are written behind the name."""
    earlier, now = Counters(1, "", 1_000_000), Counters(1, "", int(1_000_000 + seconds * 1000), seconds)
    if before:
        mapping.catalogue_values(exposition.parse(before, limit=10_000).samples, earlier)
        now.before = earlier.now
    values = mapping.catalogue_values(exposition.parse(after, limit=10_000).samples, now)
    return {name.metric + name.labels: value for name, value in tidy(values).items()}


def cpu(core: int, **seconds: float) -> str:
    return "".join(f'node_cpu_seconds_total{{cpu="{core}",mode="{mode}"}} {n}\n' for mode, n in seconds.items())


def test_cpu_is_the_share_that_is_neither_idle_nor_waiting() -> None:
    before = cpu(0, idle=100, iowait=10, user=50, system=5) + cpu(1, idle=100, iowait=0, user=0, system=0)
    after = cpu(0, idle=104, iowait=12, user=53, system=6) + cpu(1, idle=110, iowait=0, user=0, system=0)
    assert values_of(after, before) == {
        'cpu_core{"core":"0"}': 40.0,
        'cpu_core{"core":"1"}': 0.0,
        "cpu": 20.0,
        "cpu_cores": 2,
    }


def test_cpu_survives_a_core_that_goes_away() -> None:
    before = cpu(0, idle=100, user=50) + cpu(1, idle=100, user=50)
    assert values_of(cpu(0, idle=105, user=55), before)["cpu"] == 50.0


def test_cpu_of_a_first_run_is_a_gap() -> None:
    values = values_of(cpu(0, idle=100, user=50))
    assert math.isnan(values["cpu"])
    assert values["cpu_cores"] == 1


def test_memory_counts_what_programs_can_still_have() -> None:
    gb = 1024**3
    text = f"node_memory_MemTotal_bytes {8 * gb}\nnode_memory_MemAvailable_bytes {6 * gb}\n"
    assert values_of(f"{text}node_memory_MemFree_bytes {gb}\n") == {
        "memory": 25.0,
        "memory_used": 2048,
        "memory_total": 8192,
    }


def test_memory_of_an_old_kernel_adds_up_what_is_reclaimable() -> None:
    text = "node_memory_MemTotal_bytes 1000\nnode_memory_MemFree_bytes 100\nnode_memory_Cached_bytes 300\n"
    assert values_of(text)["memory"] == 60.0


def test_swap_is_shown_where_there_is_some() -> None:
    assert values_of("node_memory_SwapTotal_bytes 1000\nnode_memory_SwapFree_bytes 750\n") == {"swap": 25.0}
    assert values_of("node_memory_SwapTotal_bytes 0\nnode_memory_SwapFree_bytes 0\n") == {}


def mount(path: str, size: int, free: int, device: str, kind: str = "ext4") -> str:
    labels = f'{{device="{device}",fstype="{kind}",mountpoint="{path}"}}'
    return "".join(
        f"node_filesystem_{what}_bytes{labels} {number}\n"
        for what, number in (("size", size), ("free", free), ("avail", free - size // 20))
    )


def test_disks_are_counted_as_df_does() -> None:
    mb = 1024**2
    values = values_of(mount("/", 1000 * mb, 550 * mb, "/dev/sda1") + mount("/run", 10 * mb, 10 * mb, "tmpfs", "tmpfs"))
    assert values == {"disk": 47.4, "disk_used": 450, "disk_total": 1000, 'disk_used_share{"mount":"/"}': 47.4}


def test_a_disk_mounted_in_several_places_is_one() -> None:
    text = (
        mount("/etc/hosts", 1000, 500, "/dev/sdb")
        + mount("/mnt", 1000, 500, "/dev/sdb")
        + mount("/", 50, 25, "/dev/sda")
    )
    assert {name for name in values_of(text) if "share" in name} == {
        'disk_used_share{"mount":"/mnt"}',
        'disk_used_share{"mount":"/"}',
    }


def test_without_a_root_the_biggest_disk_is_the_disk() -> None:
    text = mount("/small", 1000, 900, "/dev/sda") + mount("/big", 100_000, 50_000, "/dev/sdb")
    assert values_of(text)["disk"] == 52.6


def test_traffic_is_counted_once_and_without_loopback() -> None:
    def text(n: int) -> str:
        cards = ("eth0", "wlan0", "lo", "veth12", "docker0", "br-9c", "bond0", "eth0.100")
        disks = ("sda", "sda1", "nvme0n1", "nvme0n1p2", "dm-0", "loop3", "sr0")
        return "".join(
            [f'node_network_receive_bytes_total{{device="{card}"}} {n}\n' for card in cards]
            + [f'node_network_transmit_bytes_total{{device="{card}"}} {2 * n}\n' for card in cards]
            + [f'node_disk_read_bytes_total{{device="{disk}"}} {3 * n}\n' for disk in disks]
            + [f'node_disk_written_bytes_total{{device="{disk}"}} {4 * n}\n' for disk in disks]
        )

    assert values_of(text(10_240), text(0)) == {"net_rx": 2.0, "net_tx": 4.0, "disk_read": 6.0, "disk_write": 8.0}


def test_a_card_that_is_new_does_not_hide_the_others() -> None:
    def text(**cards: int) -> str:
        return "".join(f'node_network_receive_bytes_total{{device="{name}"}} {n}\n' for name, n in cards.items())

    assert values_of(text(eth0=10_240, eth1=999_999), text(eth0=0)) == {"net_rx": 1.0}


def test_uptime_is_by_the_machines_own_clock() -> None:
    assert values_of("node_boot_time_seconds 500\nnode_time_seconds 800\n") == {"uptime": 300}
    assert values_of("node_boot_time_seconds 500\n") == {"uptime": 510}


def test_a_windows_machine_has_the_same_metrics() -> None:
    def text(n: int) -> str:
        modes = {"idle": 6 * n, "user": 3 * n, "privileged": n, "dpc": n, "interrupt": n}
        return (
            "".join(
                f'windows_cpu_time_total{{core="0,0",mode="{mode}"}} {seconds}\n' for mode, seconds in modes.items()
            )
            + "windows_cs_physical_memory_bytes 1000\nwindows_os_physical_memory_free_bytes 400\n"
            + 'windows_logical_disk_size_bytes{volume="C:"} 1000\nwindows_logical_disk_free_bytes{volume="C:"} 100\n'
            + f'windows_net_bytes_received_total{{nic="Intel_R"}} {10240 * n}\n'
        )

    values = values_of(text(2), text(1))
    assert (values["cpu"], values["memory"], values["disk"], values["net_rx"]) == (40.0, 60.0, 90.0, 1.0)


def test_a_program_that_serves_http_shows_throughput_errors_and_response_times() -> None:
    def text(n: int) -> str:
        return (
            f'http_requests_total{{code="200"}} {95 * n}\nhttp_requests_total{{code="503"}} {5 * n}\n'
            f'http_request_duration_seconds_bucket{{le="0.1"}} {50 * n}\n'
            f'http_request_duration_seconds_bucket{{le="0.5"}} {90 * n}\n'
            f'http_request_duration_seconds_bucket{{le="+Inf"}} {100 * n}\n'
            "process_resident_memory_bytes 104857600\n"
        )

    assert values_of(text(2), text(1)) == {
        "memory_used": 100,
        "throughput": 10.0,
        "error_rate": 5.0,
        "response_p50": 100.0,
        "response_p95": 500.0,
    }


def test_a_program_without_failures_has_an_error_rate_of_zero() -> None:
    assert values_of('http_requests_total{code="200"} 20\n', 'http_requests_total{code="200"} 0\n')["error_rate"] == 0.0


def test_a_program_that_nobody_asks_has_no_response_time() -> None:
    text = 'http_request_duration_seconds_bucket{le="+Inf"} 7\n'
    assert math.isnan(values_of(text, text)["response_p50"])


def test_the_layout_is_the_same_before_and_after_rates_are_known() -> None:
    text = cpu(0, idle=1, user=1) + 'node_network_receive_bytes_total{device="eth0"} 5\n'
    assert list(values_of(text)) == list(values_of(text, text))


def test_every_value_goes_to_a_metric_of_the_catalogue() -> None:
    everything = "".join(f"{name} 1\n" for name in sorted(mapping.NAMES))
    assert {name.partition("{")[0] for name in values_of(everything, everything)} <= BY_NAME.keys()


def test_values_are_kept_to_their_bounds_and_rounded() -> None:
    raw = {
        SeriesName("cpu"): 100.7,
        SeriesName("load1"): 1.23456,
        SeriesName("uptime"): -3.0,
        labelled("x", a="b"): 1.23456,
    }
    assert list(tidy(raw).values()) == [100.0, 1.23, 0.0, 1.23456]


def test_node_exporters_own_dump_gives_cpu_memory_and_disk() -> None:
    if not DUMP.exists():
        pytest.skip(f"{DUMP} is not here")
    text = DUMP.read_text()
    values = values_of(text, text)
    assert values["memory"] == 68.5
    assert values["memory_total"] == 3654
    assert values["swap"] == 24.8
    assert values["cpu_cores"] == 8
    assert (values["disk_read"], values["disk_write"]) == (0.0, 0.0)
    assert (values["load1"], values["load5"], values["load15"]) == (0.21, 0.37, 0.39)


def test_node_exporters_own_dump_gives_the_cpu_since_the_start() -> None:
    if not DUMP.exists():
        pytest.skip(f"{DUMP} is not here")
    text = DUMP.read_text()
    idle_for_ever = "".join(cpu(core, **dict.fromkeys(("idle", "user"), 10**9)) for core in range(8))
    assert 3 < values_of(text, idle_for_ever)["cpu"] < 6
