"""Samples per second of remote_write over HTTP, and beside it the receivers of Prometheus and VictoriaMetrics.

Each takes the same requests over the same number of connections: 100 servers of 20 series, one sample each, packed by
snappy. All that was acknowledged is read back: of ours every value, of the others the count. The senders run on the
same machine and take their share of it.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import cramjam
import httpx
import numpy as np
import psutil
from django.utils import timezone

from monitoring.history.frame import Floats, SeriesName, canonical_labels
from monitoring.history.read import read
from monitoring.ingest import tokens
from monitoring.ingest.protobuf import encoded_varint
from monitoring.models import PushToken, Server, ServerGroup
from portal.system.bench._peers import Peer, prometheus, victoria
from portal.system.bench._web import web

SECONDS = 12.0
CONNECTIONS = 4
SERVERS, SERIES = 100, 20
STEP_MS = 100
BEGAN_BEFORE_MS = 20 * 60_000
PATH = "/api/v1/write"
TOKEN = "omp_of-the-bench"  # noqa: S105 (of a database that is thrown away)
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}


def run() -> dict[str, float]:
    _make_token()
    with web("portal.asgi:application") as (port, process):
        cpu_before = _cpu_s(process)
        ours = _send(port, HEADERS | {"Authorization": f"Bearer {TOKEN}"})
        cpu_s = _cpu_s(process) - cpu_before
    found = {
        "remote_write.samples_per_s": ours.samples_per_s,
        "remote_write.samples": float(ours.samples),
        "remote_write.missing_or_changed_samples": float(_missing(ours)),
        "remote_write.web_cpu_us_per_sample": 1e6 * cpu_s / ours.samples,
    }
    with prometheus() as peer:
        found |= _peer_rate(peer)
    with victoria(["-search.latencyOffset=0s"]) as peer:
        found |= _peer_rate(peer)
    theirs = found.get("remote_write.prometheus_samples_per_s")
    return found | ({"remote_write.of_prometheus": ours.samples_per_s / theirs} if theirs else {})


def _make_token() -> None:
    group, _ = ServerGroup.objects.get_or_create(name="remote_write")
    token = PushToken(name="remote_write", group=group, series_budget=SERVERS * SERIES)
    tokens.dress(token, TOKEN)
    token.save()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# --- Sending ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Sent:
    """What was acknowledged: requests 0 … `requests` - 1, request n at `start_ms` + n * STEP_MS, in `seconds`."""

    start_ms: int
    requests: int
    seconds: float

    @property
    def samples(self) -> int:
        return self.requests * SERVERS * SERIES

    @property
    def samples_per_s(self) -> float:
        return self.samples / self.seconds


def _send(port: int, headers: dict[str, str]) -> Sent:
    """Raises RuntimeError for an answer that is not 2xx. The first request, which makes the series, is not timed."""
    bodies = _Bodies(int(timezone.now().timestamp() * 1000) // STEP_MS * STEP_MS - BEGAN_BEFORE_MS)
    numbers = count()
    _post_all(port, headers, iter([bodies.body(next(numbers))]))
    began = time.perf_counter()

    def mine() -> Iterator[bytes]:
        while time.perf_counter() < began + SECONDS:
            yield bodies.body(next(numbers))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        done = list(pool.map(lambda _: _post_all(port, headers, mine()), range(CONNECTIONS)))
    return Sent(bodies.start_ms, sum(done) + 1, time.perf_counter() - began)


def _post_all(port: int, headers: dict[str, str], bodies: Iterator[bytes]) -> int:
    """How many were sent; over one connection, one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    done = 0
    for body in bodies:
        connection.request("POST", PATH, body, headers)
        answer = connection.getresponse()
        words = answer.read()
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{answer.status}: {words[:500]!r}")
        done += 1
    connection.close()
    return done


class _Bodies:
    """Requests that differ in their numbers only: these are put into one template, so that sending costs little."""

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        message, values_at, instants_at = bytearray(), [], []
        for server in range(SERVERS):
            for number in range(SERIES):
                message += _series(server, number)
                values_at.append(len(message) - 15)
                instants_at.append(len(message) - 6)
        self._template = np.frombuffer(bytes(message), np.uint8)
        self._values_at = np.array(values_at)[:, None] + np.arange(8)
        self._instants_at = np.array(instants_at)[:, None] + np.arange(6)

    def body(self, number: int) -> bytes:
        message = self._template.copy()
        message[self._values_at] = values_of(number).view(np.uint8).reshape(-1, 8)
        message[self._instants_at] = np.frombuffer(encoded_varint(self.start_ms + number * STEP_MS), np.uint8)
        return bytes(cramjam.snappy.compress_raw(message.tobytes()))


def values_of(request: int) -> Floats:
    """Of all series, servers one after the other; made again when they are compared."""
    return np.random.default_rng(request).random(SERVERS * SERIES) + 1.0


def _labels(server: int) -> dict[str, str]:
    return {"dc": "eu-1", "instance": f"bench-{server:03d}:9100", "job": "bench", "rack": f"r{server % 7}"}


def _metric(number: int) -> str:
    return f"bench_metric_{number:02d}"


def _series(server: int, number: int) -> bytes:
    pairs = {"__name__": _metric(number)} | _labels(server)
    labels = b"".join(_field(1, _field(1, name.encode()) + _field(2, text.encode())) for name, text in pairs.items())
    return _field(1, labels + _field(2, b"\x09" + bytes(8) + b"\x10" + bytes(6)))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + encoded_varint(len(content)) + content


# --- Reading back -----------------------------------------------------------------------------------------------------
def _missing(sent: Sent) -> int:
    at_ms = sent.start_ms + np.arange(sent.requests, dtype=np.int64) * STEP_MS
    all_values = np.stack([values_of(number) for number in range(sent.requests)], axis=1)
    ids = dict(Server.objects.filter(group__name="remote_write").values_list("name", "pk"))
    missing = 0
    for server in range(SERVERS):
        names = [SeriesName(_metric(number), canonical_labels(_labels(server))) for number in range(SERIES)]
        tracks = read(ids[f"bench-{server:03d}"], names, int(at_ms[0]), int(at_ms[-1]) + 1)
        expected = all_values[server * SERIES : (server + 1) * SERIES]
        if tracks.values.shape != expected.shape or not np.array_equal(tracks.at_ms, at_ms):
            missing += expected.size
        else:
            missing += int((tracks.values != expected).sum())
    return missing


def _peer_rate(peer: Peer | None) -> dict[str, float]:
    if peer is None:
        return {}
    sent = _send(peer.port, HEADERS | {"X-Prometheus-Remote-Write-Version": "0.1.0"})
    if peer.name == "victoria":
        httpx.get(f"{peer.url}/internal/force_flush", timeout=60).raise_for_status()
    last_s = (sent.start_ms + sent.requests * STEP_MS) // 1000 + 1
    span_s = last_s - sent.start_ms // 1000 + 2
    kept = sum(_count(peer, _metric(number), span_s, last_s) for number in range(SERIES))
    if kept != sent.samples:
        raise RuntimeError(f"{peer.name} was sent {sent.samples} samples and has {kept}")
    return {f"remote_write.{peer.name}_samples_per_s": sent.samples_per_s}


def _count(peer: Peer, metric: str, span_s: int, until_s: int) -> int:
    answer = peer.get("/api/v1/query", query=f"sum(count_over_time({metric}[{span_s}s]))", time=str(until_s))
    return int(answer.json()["data"]["result"][0]["value"][1])
