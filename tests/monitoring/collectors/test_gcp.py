"""Google Cloud Monitoring as the collector meets it: a real gRPC service of this machine with Google's own messages."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ValidationError
from django.utils import timezone
from google.cloud import monitoring_v3

from monitoring.collectors import gcp
from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.run import next_run, run_once
from monitoring.history.frame import SeriesName
from monitoring.models import Collector, Server, Source
from portal.toolkit.secrets import seal

pytestmark = pytest.mark.usefixtures("loopback_is_allowed")

NOW = 1_790_000_000
Series = dict[str, Any]
Answer = Callable[[monitoring_v3.ListTimeSeriesRequest, Any], monitoring_v3.ListTimeSeriesResponse]


def series(machine: str, *values: float, zone: str = "europe-west1-b", name: str = "") -> monitoring_v3.TimeSeries:
    """Newest value first, a minute apart."""
    return monitoring_v3.TimeSeries(
        resource={"type": "gce_instance", "labels": {"instance_id": machine, "zone": zone}},
        metric={"labels": {"instance_name": name} if name else {}},
        points=[
            {"interval": {"end_time": {"seconds": NOW - 60 * age}}, "value": {"double_value": value}}
            for age, value in enumerate(values)
        ],
    )


class Project:
    """Series by the type of their metric, in pages of two; `refusal` is (status, words) of the next answers."""

    def __init__(self) -> None:
        self.series: dict[str, list[monitoring_v3.TimeSeries]] = {}
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.hang: threading.Event | None = None
        self.requests: list[monitoring_v3.ListTimeSeriesRequest] = []
        self.endpoint = ""

    def list(self, request: monitoring_v3.ListTimeSeriesRequest, context: Any) -> monitoring_v3.ListTimeSeriesResponse:
        self.requests.append(request)
        if self.hang:
            self.hang.wait(20)
        if self.refusal:
            context.abort(*self.refusal)
        kind = request.filter.split('"')[1]
        if kind not in self.series:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Cannot find metric(s) that match type = {kind}")
        start = int(request.page_token or 0)
        page = self.series[kind][start : start + 2]
        more = str(start + 2) if start + 2 < len(self.series[kind]) else ""
        return monitoring_v3.ListTimeSeriesResponse(time_series=page, next_page_token=more)

    def show(self, metric: str, *shown: monitoring_v3.TimeSeries) -> None:
        self.series[next(question.type for question in gcp.QUESTIONS if question.metric == metric)] = list(shown)


@pytest.fixture
def project() -> Iterator[Project]:
    answers = Project()
    for question in gcp.QUESTIONS:
        if not question.is_of_agent:
            answers.series[question.type] = []
    handler = grpc.unary_unary_rpc_method_handler(
        answers.list,
        request_deserializer=monitoring_v3.ListTimeSeriesRequest.deserialize,
        response_serializer=monitoring_v3.ListTimeSeriesResponse.serialize,
    )
    server = grpc.server(ThreadPoolExecutor(8))
    service = "google.monitoring.v3.MetricService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"ListTimeSeries": handler})])
    answers.endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield answers
    server.stop(None)


@pytest.fixture
def source(project: Project) -> Source:
    return Source(
        pk=1,
        collector=Collector.GCP,
        url="my-shop-123456",
        interval_s=40,
        timeout_s=10,
        options={"endpoint": project.endpoint},
    )


def collect(source: Source) -> Collected:
    return gcp.collect(source, NOW * 1000)


def found(collected: Collected) -> dict[str, dict[str, float]]:
    return {one.name: {key.metric: value for key, value in one.values.items()} for one in collected.found or ()}


# --- What it measures -------------------------------------------------------------------------------------------------
def test_machines_are_found_with_their_newest_values(source: Source, project: Project) -> None:
    project.show("cpu", series("11", 0.25, 0.9, name="web"), series("12", 0.5, name="db"))
    project.show("memory", series("11", 62.5))
    project.show("net_rx", series("11", 10_240.0, name="web"))
    project.show("disk_write", series("12", 2048.0, name="db"))
    collected = collect(source)
    assert found(collected) == {
        "web": {"cpu": 25.0, "memory": 62.5, "net_rx": 10.0},
        "db": {"cpu": 50.0, "disk_write": 2.0},
    }
    assert collected.values == {SeriesName("machines"): 2.0}


def test_a_project_without_the_agent_has_no_memory(source: Source, project: Project) -> None:
    project.show("cpu", series("11", 0.25, name="web"))
    assert found(collect(source)) == {"web": {"cpu": 25.0}}


def test_a_project_without_machines_is_no_error(source: Source) -> None:
    assert found(collect(source)) == {}


def test_counts_are_asked_for_as_rates_of_the_last_minutes(source: Source, project: Project) -> None:
    collect(source)
    by_type = {request.filter.split('"')[1].rsplit("/", 2)[-2:][-1]: request for request in project.requests}
    received = by_type["received_bytes_count"]
    assert received.name == "projects/my-shop-123456"
    assert received.aggregation.per_series_aligner == monitoring_v3.Aggregation.Aligner.ALIGN_RATE
    assert received.interval.end_time.timestamp() == NOW
    assert by_type["percent_used"].filter.endswith('AND metric.labels.state = "used"')


def test_lists_are_read_page_by_page(source: Source, project: Project) -> None:
    project.show("cpu", *(series(str(n), 0.5, name=f"web-{n}") for n in range(7)))
    assert len(found(collect(source))) == 7


def test_machines_of_one_name_are_told_apart_by_their_zone(source: Source, project: Project) -> None:
    project.show("cpu", series("11", 0.1, name="web", zone="a"), series("12", 0.2, name="web", zone="b"))
    assert set(found(collect(source))) == {"a/web", "b/web"}


@pytest.mark.parametrize("odd", [monitoring_v3.TimeSeries(), series("13"), series("", 1.0)])
def test_series_that_say_nothing_are_left_out(source: Source, project: Project, odd: monitoring_v3.TimeSeries) -> None:
    project.show("cpu", odd, series("11", 0.25, name="web"))
    assert set(found(collect(source))) == {"web"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("empty_redis")
def test_a_run_makes_servers(source: Source, server: Server, project: Project) -> None:
    project.show("cpu", series("11", 0.25, name="web"))
    source.server = server
    source.save()
    assert run_once(source).error == ""
    assert Server.objects.get(name="alpha/web").found_by == source


# --- Refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("RESOURCE_EXHAUSTED", "the quota of my-shop-123456 is used up: too fast"),
        ("PERMISSION_DENIED", "the account needs the role Monitoring Viewer in my-shop-123456: too fast"),
        ("UNAUTHENTICATED", "Google says: too fast"),
        ("INTERNAL", "Google says: too fast"),
        ("NOT_FOUND", "Google says: too fast"),
    ],
)
def test_a_refusal_is_told_in_words(source: Source, project: Project, status: str, words: str) -> None:
    project.refusal = grpc.StatusCode[status], "too fast"
    with pytest.raises(CollectError, match=words):
        collect(source)


def test_a_service_that_is_away_is_told_and_not_asked_again(source: Source, project: Project) -> None:
    project.refusal = grpc.StatusCode.UNAVAILABLE, "try later"
    with pytest.raises(CollectError, match="Google says: try later"):
        collect(source)
    assert len(project.requests) <= len(gcp.QUESTIONS)


def test_a_service_that_hangs_ends_at_the_deadline(source: Source, project: Project) -> None:
    project.hang, source.timeout_s = threading.Event(), 1
    with pytest.raises(CollectError, match="no complete answer within 1 s"):
        collect(source)
    project.hang.set()


def test_an_answer_beyond_the_limit_is_refused(
    source: Source, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcp, "MESSAGE_BYTES", 1000)
    project.show("cpu", series("11", 0.25, name="w" * 2000))
    with pytest.raises(CollectError, match="larger than max"):
        collect(source)


def test_without_the_package_it_says_how_to_install_it(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.monitoring_v3", None)
    monkeypatch.delattr("google.cloud.monitoring_v3", raising=False)
    with pytest.raises(CollectError, match=r"not installed; install it with: \.venv/bin/python -m pip install"):
        collect(source)


# --- The key and the place --------------------------------------------------------------------------------------------
def key(**more: str) -> str:
    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {"type": "service_account", "client_email": "om@x.example", "private_key_id": "1"}
    return json.dumps({**account, "private_key": private.decode(), **more})


def test_a_key_signs_for_itself_and_names_no_other_place_to_ask(source: Source) -> None:
    source.sealed_secret = seal(key(token_uri="http://169.254.169.254/token", universe_domain="evil.example"))
    credentials = gcp._credentials(source)
    assert credentials._token_uri == "https://oauth2.googleapis.com/token"
    assert credentials.universe_domain == "googleapis.com"


@pytest.mark.parametrize("secret", ["", "no json", "[]", "7", '{"client_email": "a"}', '{"private_key": "x"}'])
def test_a_secret_that_is_no_key_is_told(source: Source, secret: str) -> None:
    source.options = {}
    source.sealed_secret = seal(secret)
    with pytest.raises(CollectError, match="must be the key of a service account") as refused:
        collect(source)
    assert "private_key" not in str(refused.value)


@pytest.mark.parametrize(
    ("allowed", "endpoint", "words"),
    [
        ([], "127.0.0.1:9", r"loopback.*PORTAL_SCRAPE_ALLOW"),
        (["192.0.2.0/24"], "192.0.2.1:443", "from this machine only"),
        (["127.0.0.0/8"], "user@127.0.0.1:9", "must not hold a user name"),
    ],
)
def test_a_stand_in_is_only_taken_from_this_machine_and_when_allowed(
    source: Source, settings: Any, allowed: list[str], endpoint: str, words: str
) -> None:
    settings.SCRAPE_ALLOW = allowed
    source.options = {"endpoint": endpoint}
    with pytest.raises(CollectError, match=words):
        collect(source)


@pytest.mark.parametrize("project_id", ["", "my shop", "../x", "x", "https://my-shop-123456"])
def test_what_is_no_project_is_refused(project_id: str) -> None:
    with pytest.raises(ValidationError):
        gcp.check_url(project_id)


# --- How often --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("interval_s", [30, 40, 48])
def test_it_is_asked_about_an_interval_later_within_its_bounds(source: Source, interval_s: int) -> None:
    source.interval_s = interval_s
    now = timezone.now()
    waits = {next_run(source, now) - now for _ in range(200)}
    assert timedelta(seconds=30) <= min(waits) < max(waits) <= timedelta(seconds=48)


def test_other_intervals_are_refused(source: Source) -> None:
    source.interval_s = 15
    with pytest.raises(ValidationError, match="every 30 to 48 s"):
        source.clean()
