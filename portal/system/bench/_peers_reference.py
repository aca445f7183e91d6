"""The reference set in Prometheus and VictoriaMetrics: what it takes there, and how long they take to answer."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import numpy as np
import orjson

from portal.system.bench._peers import TIMEOUT_S, Peer, installed, prometheus, temporary_folder, victoria
from portal.system.bench._reference import METRICS, PER_DAY, SERVERS, STEP_MS, day_of

SETTLED_WITHIN_S = 180.0


@contextmanager
def prometheus_with_reference(start_ms: int) -> Iterator[Peer | None]:
    """Prometheus whose blocks hold the reference day from `start_ms` on, made by its own tool and compacted."""
    if not installed("promtool"):
        yield None
        return
    with temporary_folder() as folder:
        source, data = folder / "reference.om", folder / "data"
        with source.open("w") as out:
            out.writelines(_open_metrics(start_ms))
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(source), str(data)]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        source.unlink()
        with prometheus(data) as peer:
            if peer:
                _wait_until_settled(peer)
            yield peer


@contextmanager
def victoria_with_reference(start_ms: int) -> Iterator[Peer | None]:
    """VictoriaMetrics with the reference day from `start_ms` on, flushed and merged."""
    with victoria() as peer:
        if peer:
            for line in _json_lines(start_ms):
                peer.post("/api/v1/import", line)
            peer.get("/internal/force_flush")
            peer.get("/internal/force_merge")
            _wait_until_settled(peer)
        yield peer


def _open_metrics(start_ms: int) -> Iterator[str]:
    """OpenMetrics, a family after the other, every series of it in the order of time."""
    at_s = (start_ms + np.arange(PER_DAY, dtype=np.int64) * STEP_MS) // 1000
    for metric in METRICS:
        yield f"# TYPE {metric} gauge\n"
        for server in range(SERVERS):
            samples = zip(at_s.tolist(), day_of(server, metric).tolist(), strict=True)
            yield "".join(f'{metric}{{server="{server}"}} {value!r} {at}\n' for at, value in samples)
    yield "# EOF\n"


def _json_lines(start_ms: int) -> Iterator[bytes]:
    """A series in each, as VictoriaMetrics imports it."""
    at_ms = start_ms + np.arange(PER_DAY, dtype=np.int64) * STEP_MS
    for metric in METRICS:
        for server in range(SERVERS):
            name = {"__name__": metric, "server": str(server)}
            line = {"metric": name, "values": day_of(server, metric), "timestamps": at_ms}
            yield orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)


def _wait_until_settled(peer: Peer) -> None:
    """Until its own compaction or merge is over: the folder keeps its size. Prometheus looks each minute."""
    deadline = time.monotonic() + SETTLED_WITHIN_S
    quiet_s = 75.0 if peer.name == "prometheus" else 15.0
    size, since = peer.bytes_on_disk(), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < quiet_s:
        time.sleep(1)
        if (now := peer.bytes_on_disk()) != size:
            size, since = now, time.monotonic()


def reference_selector(server: int, metric: str) -> str:
    return f'{metric}{{server="{server}"}}'


def bytes_per_sample(peer: Peer) -> float:
    return peer.bytes_on_disk() / (SERVERS * len(METRICS) * PER_DAY)


def day_of_peer(peer: Peer, server: int, metric: str, start_ms: int) -> list[tuple[float, float]]:
    """The samples that the peer has of that series' day."""
    return peer.samples(reference_selector(server, metric), 86_400, (start_ms + 86_400_000) / 1000 - 0.001)


def changed(peer: Peer, server: int, metric: str, start_ms: int) -> int:
    """How many samples of that series' day the peer gives back otherwise than they went in."""
    found = dict(day_of_peer(peer, server, metric, start_ms))
    expected = zip((start_ms + np.arange(PER_DAY) * STEP_MS).tolist(), day_of(server, metric).tolist(), strict=True)
    return sum(found.get(at / 1000) != value for at, value in expected)


def storage(start_ms: int) -> dict[str, float]:
    """What both peers take for the reference day from `start_ms` on; what is not installed is left out."""
    numbers: dict[str, float] = {}
    for filled in (prometheus_with_reference, victoria_with_reference):
        with filled(start_ms) as peer:
            if peer:
                numbers[f"storage.{peer.name}_bytes_per_sample"] = bytes_per_sample(peer)
                numbers[f"storage.{peer.name}_changed_samples_of_a_day"] = changed(peer, 0, METRICS[0], start_ms)
    return numbers


def history(start_ms: int, milliseconds: Callable[[Callable[[], object]], float]) -> dict[str, float]:
    """How long both take to answer a day of one series over HTTP; `milliseconds` measures a call as it does ours."""
    numbers: dict[str, float] = {}
    for filled in (prometheus_with_reference, victoria_with_reference):
        with filled(start_ms) as peer:
            if peer:
                with httpx.Client(base_url=peer.url, timeout=TIMEOUT_S) as client:
                    numbers[f"history.{peer.name}_day_ms"] = milliseconds(partial(_ask_for_a_day, client, start_ms))
    return numbers


def _ask_for_a_day(client: httpx.Client, start_ms: int) -> None:
    query = f"{reference_selector(0, METRICS[0])}[86400s]"
    answer = client.get("/api/v1/query", params={"query": query, "time": str(start_ms // 1000 + 86_399)})
    assert len(answer.raise_for_status().content) > 17_000
