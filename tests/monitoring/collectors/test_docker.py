"""A container engine as the collector meets it: a real server on a unix socket that answers as the engine does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from django.core.exceptions import ValidationError
from django.forms import modelform_factory

from monitoring.admin.source_form import SourceForm
from monitoring.collectors import docker
from monitoring.collectors.base import Collected, CollectError, Found
from monitoring.collectors.run import run_once
from monitoring.history.frame import SeriesName
from monitoring.models import Collector, Server, Source
from portal.toolkit.secrets import seal
from portal.toolkit.sentence import say
from tests.monitoring.collectors.far_side import Reply, Request, authority, on_unix_socket, over_tls

pytestmark = pytest.mark.usefixtures("empty_redis")

START = 1_790_000_000.0
MB = 1024 * 1024


def stamp(seconds: float) -> str:
    """As the engine writes it, to the nanosecond."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


class Engine:
    """Containers by name; `at` is its clock. Each is {"cpu_s", "limits", …}, whatever a test changes."""

    def __init__(self) -> None:
        self.at = START
        self.containers: dict[str, dict[str, Any]] = {}
        self.odd: dict[str, Reply] = {}

    def add(self, name: str, **more: Any) -> dict[str, Any]:
        number = len(self.containers) + 1
        container = {"id": f"{number:064x}", "cpu_s": 100.0, "rx": 0, "read": 0, "used": 300 * MB, **more}
        self.containers[name] = container
        return container

    def __call__(self, request: Request) -> Reply:
        if request.path in self.odd:
            return self.odd[request.path]
        if request.path == "/containers/json":
            return 200, [self.listed(name, container) for name, container in self.containers.items()]
        by_id = {container["id"]: container for container in self.containers.values()}
        _empty, _containers, identity, what = request.path.split("/")
        if identity not in by_id:
            return 404, {"message": f"No such container: {identity}"}
        container = by_id[identity]
        if what == "stats" and request.query != {"stream": "false", "one-shot": "true"}:
            return 400, {"message": "this would stream for ever"}
        return container.get(what) or (200, self.stats(container) if what == "stats" else self.details(container))

    def listed(self, name: str, container: dict[str, Any]) -> dict[str, Any]:
        return {
            "Id": container["id"],
            "Names": [f"/shop-link/{name}", f"/{name}"],
            "Image": container.get("image", "nginx:1.27"),
            "State": container.get("state", "running"),
            "Status": "Up 2 hours",
        }

    def stats(self, container: dict[str, Any]) -> dict[str, Any]:
        return {
            "read": stamp(self.at),
            "preread": "0001-01-01T00:00:00Z",
            "num_procs": 0,
            "cpu_stats": {
                "cpu_usage": {"total_usage": int(container["cpu_s"] * 1e9), "usage_in_usermode": 1},
                "system_cpu_usage": 1,
                "online_cpus": 4,
            },
            "precpu_stats": {"cpu_usage": {"total_usage": 0}},
            "memory_stats": {
                "usage": container["used"],
                "stats": {"inactive_file": 100 * MB, "anon": 1},
                "limit": container.get("memory_limit", 8000 * MB),
            },
            "networks": {"eth0": {"rx_bytes": container["rx"], "tx_bytes": 2 * container["rx"]}},
            "blkio_stats": {
                "io_service_bytes_recursive": [
                    {"major": 8, "minor": 0, "op": "Read", "value": container["read"]},
                    {"major": 8, "minor": 0, "op": "Write", "value": 0},
                    {"major": 8, "minor": 16, "op": "Read", "value": container["read"]},
                ]
            },
        }

    def details(self, container: dict[str, Any]) -> dict[str, Any]:
        return {
            "RestartCount": container.get("restarts", 0),
            "State": {"Running": True, "StartedAt": stamp(START - 3600)},
            "HostConfig": {
                "NanoCpus": container.get("nano_cpus", 0),
                "CpuQuota": container.get("quota", 0),
                "Memory": container.get("memory_limit", 0),
            },
            "Config": {"Env": ["PASSWORD=hunter2"]},
        }


@pytest.fixture
def engine(short_folder: Path) -> Iterator[Engine]:
    answers = Engine()
    with on_unix_socket(short_folder / "docker.sock", answers) as side:
        answers.url = side.url  # type: ignore[attr-defined]
        yield answers


@pytest.fixture
def source(engine: Any) -> Source:
    return Source(pk=1, collector=Collector.DOCKER, url=engine.url, timeout_s=5)


def collect(source: Source, at: float = START) -> Collected:
    return docker.collect(source, int(at * 1000))


def by_name(collected: Collected) -> dict[str, Found]:
    assert collected.found is not None
    return {found.name: found for found in collected.found}


def twice(source: Source, engine: Engine, change: Callable[[], None], seconds: float = 10.0) -> dict[str, float]:
    """What the only container shows in a second run, `seconds` after the first."""
    collect(source, engine.at)
    engine.at += seconds
    change()
    [found] = by_name(collect(source, engine.at)).values()
    return {name.metric: value for name, value in found.values.items()}


# --- What it measures -------------------------------------------------------------------------------------------------
def test_the_engine_says_how_many_run_and_each_is_found(source: Source, engine: Engine) -> None:
    engine.add("web", image="nginx:1.28")
    engine.add("db", state="restarting")
    collected = collect(source)
    assert collected.values == {SeriesName("containers"): 1.0}
    assert sorted(by_name(collected)) == ["db", "web"]
    assert by_name(collected)["web"].description == "nginx:1.28"
    assert collected.complaint == ""


def test_a_container_is_measured_as_docker_stats_counts(source: Source, engine: Engine) -> None:
    container = engine.add("web", restarts=3)
    values = twice(
        source, engine, lambda: container.update(cpu_s=110.0, rx=10 * 1024 * 10, read=20 * 1024 * 10, used=900 * MB)
    )
    assert values == {
        "cpu": 25.0,  # one of four cores
        "memory": 10.0,
        "memory_used": 800.0,
        "net_rx": 10.0,
        "net_tx": 20.0,
        "disk_read": 40.0,
        "disk_write": 0.0,
        "restarts": 3.0,
        "uptime": 3610.0,
    }


def test_limits_are_measured_where_there_are_any(source: Source, engine: Engine) -> None:
    container = engine.add("web", nano_cpus=500_000_000, memory_limit=400 * MB)
    values = twice(source, engine, lambda: container.update(cpu_s=104.0))
    assert (values["cpu"], values["cpu_limit_share"]) == (10.0, 80.0)
    assert (values["memory"], values["memory_limit_share"]) == (50.0, 50.0)


def test_a_limit_may_be_a_quota(source: Source, engine: Engine) -> None:
    container = engine.add("web", quota=200_000)
    assert twice(source, engine, lambda: container.update(cpu_s=110.0))["cpu_limit_share"] == 50.0


def test_a_share_stays_a_share_when_the_engines_clock_jitters(source: Source, engine: Engine) -> None:
    container = engine.add("web")
    assert twice(source, engine, lambda: container.update(cpu_s=140.5))["cpu"] == 100.0


def test_a_restarted_container_counts_from_nothing(source: Source, engine: Engine) -> None:
    container = engine.add("web", rx=5_000_000)
    values = twice(source, engine, lambda: container.update(cpu_s=2.0, rx=10_240))
    assert (values["cpu"], values["net_rx"]) == (5.0, 1.0)


def test_a_new_container_of_the_same_name_is_not_compared_with_the_old_one(source: Source, engine: Engine) -> None:
    engine.add("web")
    values = twice(source, engine, lambda: engine.containers["web"].update(id="f" * 64, cpu_s=900.0))
    assert values["cpu"] != values["cpu"]


def test_a_container_on_the_machines_network_shows_none(source: Source, engine: Engine) -> None:
    container = engine.add("web")
    stats = engine.stats(container)
    del stats["networks"]
    stats["blkio_stats"]["io_service_bytes_recursive"] = None
    container["stats"] = (200, stats)
    [found] = by_name(collect(source)).values()
    assert {name.metric for name in found.values} == {"cpu", "memory", "memory_used", "restarts", "uptime"}


@pytest.mark.django_db(transaction=True)
def test_a_run_makes_servers_with_values(source: Source, server: Server, engine: Engine) -> None:
    engine.add("web")
    source.server = server
    source.save()
    assert run_once(source).error == ""
    assert Server.objects.get(name="alpha/web").kind == "container"
    del engine.containers["web"]
    run_once(source)
    assert Server.objects.get(name="alpha/web").gone_at is not None


# --- Faults -----------------------------------------------------------------------------------------------------------
def test_who_vanishes_between_list_and_stats_is_not_found(source: Source, engine: Engine) -> None:
    engine.add("web")
    engine.add("quick", stats=(404, {"message": "No such container"}))
    collected = collect(source)
    assert list(by_name(collected)) == ["web"]
    assert collected.complaint == ""


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((500, {"message": "cgroup is broken\n"}), "the answer has the status 500: cgroup is broken�"),
        ((200, b"{half"), "the answer is not JSON"),
        ((200, []), "the answer is not what was expected"),
        (lambda out: out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}"), "the answer was cut off"),
        ((200, b" " * 1_000_001), "the answer is larger than 1 MB"),
    ],
)
def test_one_that_cannot_be_measured_does_not_hide_the_others(
    source: Source, engine: Engine, reply: Reply, words: str
) -> None:
    engine.add("web")
    engine.add("bad", stats=reply)
    collected = collect(source)
    assert words in say(collected.complaint)
    assert say(collected.complaint).startswith("1 container could not be measured: “bad” (")
    assert not by_name(collected)["bad"].values
    assert by_name(collected)["web"].values


@pytest.mark.parametrize("stats", [{}, {"read": 7, "cpu_stats": [], "networks": {"eth0": None}, "memory_stats": "?"}])
def test_stats_without_numbers_are_gaps(source: Source, engine: Engine, stats: dict[str, Any]) -> None:
    engine.add("web", stats=(200, stats), json=(200, {"State": None}))
    values = by_name(collect(source))["web"].values.values()
    assert all(value != value for value in values)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((500, {"message": "out of memory"}), "the list of containers: the answer has the status 500: out of memory"),
        ((200, {"message": "no list"}), "the list of containers: the answer is not what was expected"),
        ((200, b"[" * 100_000), "the list of containers: the answer is not JSON"),
        (lambda out: None, "without sending a response"),
    ],
)
def test_without_a_list_nothing_is_collected(source: Source, engine: Engine, reply: Reply, words: str) -> None:
    engine.odd["/containers/json"] = reply
    with pytest.raises(CollectError, match=words):
        collect(source)


def test_a_drip_ends_at_the_deadline(source: Source, engine: Engine) -> None:
    over = threading.Event()

    def drip(out: BinaryIO) -> None:
        out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n[")
        while not over.wait(0.05):
            out.write(b" ")

    engine.odd["/containers/json"] = drip
    source.timeout_s = 1
    began = time.monotonic()
    with pytest.raises(CollectError, match="no complete answer within 1 s"):
        collect(source)
    over.set()
    assert time.monotonic() - began < 5


def test_containers_that_hang_leave_the_list_standing(source: Source, engine: Engine) -> None:
    over = threading.Event()
    for n in range(20):
        engine.add(f"stuck-{n}", stats=lambda out: over.wait(20))
    source.timeout_s = 1
    collected = collect(source)
    over.set()
    assert len(by_name(collected)) == 20
    assert "20 containers could not be measured" in say(collected.complaint)


def test_a_huge_list_is_measured_up_to_the_most(
    source: Source, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "MOST", 3)
    for n in range(5):
        engine.add(f"c{n}")
    collected = by_name(collect(source))
    assert [name for name, found in collected.items() if found.values] == ["c0", "c1", "c2"]
    assert len(collected) == 5


@pytest.mark.parametrize("odd", [{"Id": "../../etc"}, {"Names": None}, {"Names": ["/a/b"]}, {"Id": 7}])
def test_what_has_no_name_of_its_own_is_told_and_left_out(source: Source, engine: Engine, odd: dict[str, Any]) -> None:
    web = engine.add("web")
    engine.odd["/containers/json"] = (200, [engine.listed("web", web), {**engine.listed("x", web), **odd}])
    collected = collect(source)
    assert list(by_name(collected)) == ["web"]
    assert say(collected.complaint) == "1 container has no name."


def test_a_socket_that_nobody_listens_at_is_told(source: Source) -> None:
    source.url = "unix:///nowhere/docker.sock"
    with pytest.raises(CollectError, match=r"no connection to /nowhere/docker\.sock: No such file"):
        collect(source)


# --- Over a network ---------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("loopback_is_allowed")
@pytest.mark.parametrize("lines", ["\n", "", " "])
def test_an_engine_with_tls_is_shown_our_certificate(source: Source, engine: Engine, lines: str) -> None:
    engine.add("web")
    us = authority("openmanager")
    with over_tls(engine, client_authority=us.certificate) as side:
        source.url = side.url
        source.options = {"authority": authority().certificate, "certificate": us.certificate}
        source.sealed_secret = seal(us.key.replace("\n", lines))
        assert list(by_name(collect(source))) == ["web"]


@pytest.mark.usefixtures("loopback_is_allowed")
def test_an_engine_of_another_authority_is_not_trusted(source: Source, engine: Engine) -> None:
    with over_tls(engine) as side:
        source.url = side.url
        source.options = {"authority": authority("somebody else").certificate}
        with pytest.raises(CollectError, match="is not valid"):
            collect(source)
        assert side.requests == []


def test_certificates_that_are_none_are_told(source: Source) -> None:
    source.url = "tcp://192.0.2.1:2376"
    source.options = {"authority": "no certificate"}
    with pytest.raises(CollectError, match="the certificates of this source are not usable"):
        collect(source)


@pytest.mark.parametrize("url", ["unix://docker.sock", "ftp://x", "tcp://x:99999", "tcp://127.0.0.1:2375", "nonsense"])
def test_a_url_that_cannot_work_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        docker.check_url(url)


@pytest.mark.parametrize("url", ["unix:///var/run/docker.sock", "tcp://192.0.2.1:2375", "https://192.0.2.1:2376"])
def test_a_url_of_an_engine_is_taken(url: str) -> None:
    docker.check_url(url)


@pytest.mark.django_db
def test_the_form_asks_for_what_an_engine_needs(server: Server) -> None:
    filled = {
        "server": server.pk,
        "collector": "docker",
        "url": "tcp://192.0.2.1:2376",
        "interval_s": 15,
        "timeout_s": 10,
        "docker_authority": authority().certificate,
        "docker_certificate": authority().certificate,
        "secret": authority().key,
    }
    form = modelform_factory(Source, form=SourceForm, fields=["server", "collector", "url", "interval_s", "timeout_s"])(
        filled
    )
    assert form.is_valid(), form.errors
    saved = form.save()
    assert saved.options["authority"].strip() == authority().certificate.strip()
    assert authority().key not in saved.sealed_secret
