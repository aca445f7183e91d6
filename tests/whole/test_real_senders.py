"""Programs that people already run, sending into a whole portal: their machines are on the fleet page."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from portal.embedded.running import RunningPortal
from tests.agent.conftest import wait_until
from tests.programs import needed, running_exporter

pytestmark = pytest.mark.slow


@pytest.fixture
def browser(portal: RunningPortal) -> Iterator[httpx.Client]:
    """Signed in once: who does so again and again is stopped by the limits against guessing."""
    with httpx.Client(base_url=portal.url, follow_redirects=True, timeout=30) as client:
        csrf = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/accounts/login/").text)[-1]
        said = {"login": portal.demo["username"], "password": portal.demo["password"], "csrfmiddlewaretoken": csrf}
        client.post("/accounts/login/", data=said, headers={"Referer": portal.url}).raise_for_status()
        yield client


def shows_vitals(browser: httpx.Client, name: str) -> bool:
    """Whether the server's card on the fleet page has CPU, memory and disk."""
    cards = re.findall(r"<article.*?</article>", browser.get("/", params={"q": name}).text, re.S)
    card = next((card for card in cards if f">{name}<" in card), "")
    return all(re.search(rf"<dt>{word}</dt><dd>[\d.]+%</dd>", card) for word in ("CPU", "Mem", "Disk"))


def test_a_machine_that_prometheus_scrapes_is_on_the_fleet_page(
    portal: RunningPortal, browser: httpx.Client, tmp_path: Path
) -> None:
    with running_exporter() as address, running_prometheus(portal, address, tmp_path):
        wait_until(lambda: shows_vitals(browser, "scraped-1"), "CPU, memory and disk of the scraped machine")


def test_a_program_with_opentelemetrys_sdk_is_on_the_fleet_page(portal: RunningPortal, browser: httpx.Client) -> None:
    exporter = OTLPMetricExporter(
        endpoint=f"{portal.url}/v1/metrics",
        headers={"Authorization": f"Bearer {portal.demo['push_token']}"},
        compression=Compression.Gzip,
    )
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=1000)
    resource = Resource.create({"host.name": "measured-1", "service.name": "shop"})
    provider = MeterProvider(metric_readers=[reader], resource=resource)
    meter = provider.get_meter("tests")
    meter.create_observable_counter("system.cpu.time", [cpu_time], unit="s")
    meter.create_observable_up_down_counter("system.memory.usage", [memory_usage], unit="By")
    meter.create_observable_up_down_counter("system.filesystem.usage", [filesystem_usage], unit="By")
    meter.create_counter("shop.orders").add(5, {"kind": "book"})
    meter.create_histogram("shop.wait", unit="s").record(0.3)
    try:
        wait_until(lambda: shows_vitals(browser, "measured-1"), "CPU, memory and disk of the program's machine")
    finally:
        provider.shutdown()


def cpu_time(_options: CallbackOptions) -> Iterator[Observation]:
    for core, times in enumerate(psutil.cpu_times(percpu=True)):
        for state in ("user", "system", "idle"):
            yield Observation(getattr(times, state), {"cpu": f"cpu{core}", "state": state})


def memory_usage(_options: CallbackOptions) -> Iterator[Observation]:
    memory = psutil.virtual_memory()
    yield Observation(memory.total - memory.available, {"state": "used"})
    yield Observation(memory.available, {"state": "free"})


def filesystem_usage(_options: CallbackOptions) -> Iterator[Observation]:
    disk = psutil.disk_usage("/")
    for state in ("used", "free"):
        labels = {"device": "/dev/root", "mountpoint": "/", "type": "ext4", "state": state}
        yield Observation(getattr(disk, state), labels)


@contextmanager
def running_prometheus(portal: RunningPortal, exporter: str, folder: Path) -> Iterator[None]:
    """Debian's Prometheus, which scrapes `exporter` every second and writes it to the portal as scraped-1."""
    program = needed("prometheus")
    target = exporter.removeprefix("http://").removesuffix("/metrics")
    scrape = {"job_name": "node", "static_configs": [{"targets": [target], "labels": {"instance": "scraped-1:9100"}}]}
    write = {"url": f"{portal.url}/api/v1/write", "authorization": {"credentials": portal.demo["push_token"]}}
    config = folder / "prometheus.yml"
    # JSON is YAML.
    config.write_text(
        json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape], "remote_write": [write]})
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    command.append(f"--web.listen-address=127.0.0.1:{port}")
    log = folder / "prometheus.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield
        except AssertionError as error:
            error.add_note(log.read_text()[-3000:])
            raise
        finally:
            process.terminate()
