"""Programs that people already run send their lines: OpenTelemetry's SDK over HTTP, util-linux' logger as syslog."""

from __future__ import annotations

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from monitoring.ingest import doors
from monitoring.logs.line import Level
from monitoring.models import PushToken, Server
from tests.monitoring.ingest.conftest import TEXT
from tests.monitoring.ingest.test_syslog_listener import Running, run
from tests.monitoring.logs.conftest import committed_logs, kept
from tests.programs import needed

__all__ = ["committed_logs"]

pytestmark = pytest.mark.usefixtures("empty_redis", "committed_logs")


@pytest.fixture
def intake(committed_logs: None, make_token: Callable[..., PushToken]) -> Iterator[str]:
    """The doors behind a real HTTP server; its URL."""
    make_token(name="devices")
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(doors.intake(), lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.filterwarnings("ignore:.LoggingHandler.:DeprecationWarning")
@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.NoCompression])
def test_what_opentelemetrys_sdk_exports_lands(intake: str, compression: Compression) -> None:
    exporter = OTLPLogExporter(
        f"{intake}/v1/logs", headers={"Authorization": f"Bearer {TEXT}"}, compression=compression
    )
    provider = LoggerProvider(Resource.create({"host.name": "measured-1", "service.name": "shop"}))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = logging.getLogger("shop.cart")
    handler = LoggingHandler(logger_provider=provider)
    logger.addHandler(handler)
    try:
        for number in range(1000):
            logger.warning("order %d is late", number, extra={"customer": 7})
        try:
            raise ValueError("no such book")
        except ValueError:
            logger.exception("it broke")
        assert provider.force_flush()
    finally:
        logger.removeHandler(handler)
        provider.shutdown()
    lines = {line.text: line for line in kept()}
    assert lines.keys() == {f"order {number} is late" for number in range(1000)} | {"it broke"}
    late, broken = lines["order 5 is late"], lines["it broke"]
    assert (late.level, late.source, late.fields["customer"]) == (Level.WARNING, "shop", "7")
    assert (broken.level, broken.fields["exception.message"]) == (Level.ERROR, "no such book")
    assert Server.objects.get(pk=late.server_id).name == "measured-1"


@pytest.mark.parametrize(
    "options",
    [
        ("--tcp", "--octet-count", "--rfc5424"),
        ("--tcp", "--rfc5424"),
        ("--tcp", "--rfc3164"),
        ("--udp", "--rfc5424"),
        ("--udp", "--rfc3164"),
    ],
    ids=" ".join,
)
def test_what_logger_sends_lands(make_token: Callable[..., PushToken], options: tuple[str, ...]) -> None:
    program = needed("logger")
    make_token(name="devices")

    async def act(portal: Running) -> None:
        host, port = portal.address
        command = [
            program,
            "--server",
            host,
            "--port",
            str(port),
            *options,
            "--priority",
            "user.err",
            "--tag",
            "backup",
        ]
        subprocess.run([*command, "--", "the disk is full"], check=True, timeout=10)
        await portal.until(lambda: portal.listener.counts.kept)

    run(act)
    [line] = kept()
    assert (line.text, line.source, line.level) == ("the disk is full", "backup", Level.ERROR)
    assert abs(line.position.at_ns - time.time_ns()) < 30e9
    assert Server.objects.get(pk=line.server_id).name in {socket.gethostname(), socket.gethostname().partition(".")[0]}
