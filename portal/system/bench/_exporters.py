"""A process that shows what many node_exporters would: 1,500 samples at any path, with counters that grow."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CORES, MODES = 8, ("idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user")
DISKS, CARDS, MOUNTS = ("sda", "sdb", "nvme0n1"), ("eth0", "eth1", "lo", "docker0"), ("/", "/home", "/srv", "/boot")
DISK_COUNTERS = ("read_bytes", "written_bytes", "reads_completed", "writes_completed", "io_time_seconds", "io_now")
CARD_COUNTERS = ("receive_bytes", "transmit_bytes", "receive_packets", "transmit_packets", "receive_errs")
SAMPLES = 1_500


def exposition(seconds: float) -> str:
    """What a machine shows that has run for `seconds`: real names for what the catalogue knows, the rest made up."""
    lines = [
        "# HELP node_cpu_seconds_total Seconds the CPUs spent in each mode.",
        "# TYPE node_cpu_seconds_total counter",
    ]
    for core in range(CORES):
        for place, mode in enumerate(MODES):
            lines.append(
                f'node_cpu_seconds_total{{cpu="{core}",mode="{mode}"}} {seconds * (0.8 if not place else 0.02):.2f}'
            )
    for disk in DISKS:
        lines += [f'node_disk_{name}_total{{device="{disk}"}} {seconds * 4096:.0f}' for name in DISK_COUNTERS]
    for card in CARDS:
        lines += [f'node_network_{name}_total{{device="{card}"}} {seconds * 1500:.0f}' for name in CARD_COUNTERS]
    for mount in MOUNTS:
        where = f'{{device="/dev/{mount}",fstype="ext4",mountpoint="{mount}"}}'
        lines += [
            f"node_filesystem_{name}_bytes{where} {n}e+10" for name, n in (("size", 9), ("free", 4), ("avail", 3))
        ]
    lines += ["node_load1 0.52", "node_load5 0.41", "node_load15 0.3", "node_boot_time_seconds 1.7e+09"]
    lines += ["node_memory_MemTotal_bytes 1.6e+10", "node_memory_MemAvailable_bytes 9.1e+09"]
    head = sum(not line.startswith("#") for line in lines)
    for number in range(SAMPLES - head):
        if number % 3 == 0:
            lines += [f"# HELP node_vmstat_{number} Something.", f"# TYPE node_vmstat_{number} untyped"]
        lines.append(f'node_vmstat_{number // 3 * 3}{{zone="normal",part="{number % 3}"}} {number * 1.5 + seconds:.6g}')
    return "\n".join(lines) + "\n"


class _Exporter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = exposition(time.monotonic()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: 400 lines a minute would be of no use."""


def main() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Exporter) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
