"""What it costs to scrape 100 machines with node_exporter every 15 s: 1,500 samples each, over HTTP, committed.

Once as sources are by default (what feeds the catalogue is kept, the rest counted) and once with every series kept. The
endpoints are a process of their own. Cores are CPU seconds a second of this process, which does what a worker does, and
of PostgreSQL beside it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
from django.conf import settings
from django.db import connection

from monitoring.collectors.run import collect_due
from monitoring.models import Collector, Server, ServerGroup, Source

MACHINES = 100
INTERVAL_S = 15
ROUNDS = 3
WARM_UP_AT_MOST_S = 120.0


def run() -> dict[str, float]:
    with _endpoints() as port:
        return {
            **_measured("scrape", _sources(port, everything=False)),
            **_measured("scrape.everything", _sources(port, everything=True)),
        }


@contextmanager
def _endpoints() -> Iterator[int]:
    """The port of a process that shows MACHINES expositions, at /0, /1, …"""
    command = [sys.executable, "-m", "portal.system.bench._exporters"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as exporters:
        try:
            assert exporters.stdout is not None
            yield int(exporters.stdout.readline())
        finally:
            exporters.terminate()


def _sources(port: int, *, everything: bool) -> list[int]:
    group, _ = ServerGroup.objects.get_or_create(name="scrape")
    settings.SCRAPE_ALLOW = [f"127.0.0.1:{port}"]
    Source.objects.all().delete()
    name = "everything" if everything else "catalogue"
    servers = Server.objects.bulk_create(Server(name=f"{name}-{number}", group=group) for number in range(MACHINES))
    made = Source.objects.bulk_create(
        Source(
            server=server,
            collector=Collector.PROMETHEUS,
            url=f"http://127.0.0.1:{port}/{number}",
            interval_s=INTERVAL_S,
            keep_everything=everything,
        )
        for number, server in enumerate(servers)
    )
    return [source.pk for source in made]


def _measured(name: str, source_ids: list[int]) -> dict[str, float]:
    """After each source was read once: by then its series exist and the runs are spread over the interval."""
    _tick_until(time.monotonic() + WARM_UP_AT_MOST_S, source_ids)
    before, postgres_before, began = time.process_time(), _postgres_s(), time.monotonic()
    runs_before = _runs()
    _tick_until(began + ROUNDS * INTERVAL_S)
    took_s = time.monotonic() - began
    runs = _runs() - runs_before
    shown = sum(samples or 0 for samples in Source.objects.values_list("samples", flat=True)) / MACHINES
    failed = Source.objects.exclude(error="").count()
    return {
        f"{name}.cores": (time.process_time() - before) / took_s,
        f"{name}.postgres_cores": (_postgres_s() - postgres_before) / took_s,
        f"{name}.samples_per_s": runs * shown / took_s,
        f"{name}.samples_per_machine": shown,
        f"{name}.failed_sources": float(failed),
    }


def _tick_until(end: float, all_read: list[int] | None = None) -> None:
    """Collect what is due each second, as beat asks for; stops early when `all_read` were read once."""
    while time.monotonic() < end:
        collect_due()
        time.sleep(1)
        if all_read and not Source.objects.filter(pk__in=all_read, ok_at=None).exists():
            return


def _runs() -> int:
    """How often anything was recorded: a run leaves one batch."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM monitoring_batch WHERE origin = 'prometheus'")
        row = cursor.fetchone()
    return int(row[0])


def _postgres_s() -> float:
    """The CPU seconds of PostgreSQL's processes that run now; its connections outlive the measurement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        row = cursor.fetchone()
    server = psutil.Process(row[0]).parent()
    assert server is not None
    used = [process.cpu_times() for process in (server, *server.children())]
    return sum(times.user + times.system for times in used)
