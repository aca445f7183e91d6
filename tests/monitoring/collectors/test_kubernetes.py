"""A cluster as the collector meets it: a real HTTPS server that answers as an API server does, page by page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from monitoring.collectors import kubernetes
from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.quantities import amount, quantity
from monitoring.collectors.run import run_once
from monitoring.models import Collector, Server, Source
from portal.toolkit.secrets import seal
from portal.toolkit.sentence import say
from tests.monitoring.collectors.far_side import FarSide, Reply, Request, authority, over_tls

pytestmark = pytest.mark.usefixtures("loopback_is_allowed")

NOW = 1_790_000_000
TOKEN = "eyJhbGciOiJSUzI1NiJ9.e30.c2ln"
PODS, NODES = "/api/v1/pods", "/api/v1/nodes"
POD_USAGE, NODE_USAGE = "/apis/metrics.k8s.io/v1beta1/pods", "/apis/metrics.k8s.io/v1beta1/nodes"


def node(name: str, ready: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "status": {
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "conditions": [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}],
        },
    }


def pod(name: str, *, phase: str = "Running", restarts: int = 0, **resources: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name},
        "spec": {"nodeName": "node-1", "containers": [{"name": "main", "resources": resources}]},
        "status": {
            "phase": phase,
            "startTime": "2026-09-21T13:13:20Z",
            "containerStatuses": [{"name": "main", "restartCount": restarts, "state": {"running": {}}}],
        },
    }


def used(cpu: str, memory: str) -> dict[str, Any]:
    return {"usage": {"cpu": cpu, "memory": memory}}


class Cluster:
    """Lists by their paths; pages of two. `odd` answers stand in for a path."""

    def __init__(self) -> None:
        self.lists: dict[str, list[dict[str, Any]]] = {PODS: [], NODES: [node("node-1")]}
        self.odd: dict[str, Reply] = {}
        self.expiring = 0

    def __call__(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"kind": "Status", "message": "Unauthorized"}
        if request.path in self.odd:
            return self.odd[request.path]
        if request.path not in self.lists:
            return 404, {"kind": "Status", "message": "the server could not find the requested resource"}
        start = int(request.query.get("continue", "0"))
        if start and self.expiring:
            self.expiring -= 1
            return 410, {"kind": "Status", "reason": "Expired", "message": "too old resource version"}
        items = self.lists[request.path]
        more = {"continue": str(start + 2)} if start + 2 < len(items) else {}
        return 200, {"kind": "List", "metadata": {"resourceVersion": "1", **more}, "items": items[start : start + 2]}

    def measure(self, pods: dict[str, dict[str, Any]], nodes: dict[str, dict[str, Any]]) -> None:
        self.lists[POD_USAGE] = [
            {"metadata": {"namespace": "shop", "name": name}, "containers": [usage]} for name, usage in pods.items()
        ]
        self.lists[NODE_USAGE] = [{"metadata": {"name": name}, **usage} for name, usage in nodes.items()]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def side(cluster: Cluster) -> Iterator[FarSide]:
    with over_tls(cluster) as side:
        yield side


@pytest.fixture
def source(side: FarSide) -> Source:
    options = {"authority": authority().certificate}
    return Source(
        pk=1, collector=Collector.KUBERNETES, url=side.url, timeout_s=5, options=options, sealed_secret=seal(TOKEN)
    )


def collect(source: Source) -> Collected:
    return kubernetes.collect(source, NOW * 1000)


def of_cluster(collected: Collected) -> dict[str, float]:
    return {name.metric: value for name, value in collected.values.items()}


def found(collected: Collected, name: str) -> dict[str, float]:
    assert collected.found is not None
    return {key.metric: value for one in collected.found if one.name == name for key, value in one.values.items()}


def names(collected: Collected) -> list[str]:
    return sorted(one.name for one in collected.found or ())


# --- What it measures -------------------------------------------------------------------------------------------------
def test_pods_are_counted_by_phase_and_nodes_by_readiness(source: Source, cluster: Cluster) -> None:
    cluster.lists[NODES] = [node("node-1"), node("node-2", "False"), node("node-3", "Unknown")]
    cluster.lists[PODS] = [
        pod("web", restarts=2),
        pod("api", restarts=1),
        pod("new", phase="Pending"),
        pod("broken", phase="Failed", restarts=9),
    ]
    assert of_cluster(collect(source)) == {
        "pods": 2.0,
        "pods_pending": 1.0,
        "pods_failed": 1.0,
        "restarts": 3.0,
        "nodes_ready": 1.0,
        "nodes_not_ready": 2.0,
        "cpu_cores": 12.0,
        "memory_total": 24 * 1024.0,
    }


def test_usage_is_told_of_the_cluster_and_of_each_node(source: Source, cluster: Cluster) -> None:
    cluster.lists[NODES] = [node("node-1"), node("node-2")]
    cluster.lists[PODS] = [pod("web"), pod("done", phase="Failed")]
    cluster.measure({}, {"node-1": used("1", "2Gi"), "node-2": used("500m", "1Gi")})
    collected = collect(source)
    assert (of_cluster(collected)["cpu"], of_cluster(collected)["memory"]) == (18.8, 18.8)
    assert found(collected, "node-1") == {
        "pods": 1.0,
        "cpu": 25.0,
        "cpu_cores": 4.0,
        "memory": 25.0,
        "memory_used": 2048.0,
        "memory_total": 8192.0,
    }


def test_a_pod_is_measured_against_its_node_its_limits_and_its_requests(source: Source, cluster: Cluster) -> None:
    limits, requests = {"cpu": "500m", "memory": "256Mi"}, {"cpu": "100m", "memory": "128Mi"}
    cluster.lists[PODS] = [pod("web", restarts=4, limits=limits, requests=requests)]
    cluster.measure({"web": used("250000000n", "131072Ki")}, {"node-1": used("1", "1Gi")})
    assert found(collect(source), "shop/web") == {
        "restarts": 4.0,
        "uptime": 3600.0,
        "cpu": 6.2,
        "memory": 1.6,
        "memory_used": 128.0,
        "cpu_limit_share": 50.0,
        "memory_limit_share": 50.0,
        "cpu_request_share": 250.0,
        "memory_request_share": 100.0,
    }


def test_a_limit_that_one_container_lacks_is_none_of_the_pod(source: Source, cluster: Cluster) -> None:
    half = pod("web", limits={"cpu": "500m"})
    half["spec"]["containers"].append({"name": "helper", "resources": {}})
    cluster.lists[PODS] = [half]
    cluster.measure({"web": used("250m", "128Mi")}, {})
    assert "cpu_limit_share" not in found(collect(source), "shop/web")


def test_finished_pods_are_no_servers(source: Source, cluster: Cluster, side: FarSide) -> None:
    cluster.lists[PODS] = [pod("web"), pod("evicted", phase="Failed"), pod("job", phase="Succeeded")]
    assert names(collect(source)) == ["node-1", "shop/web"]
    asked = [request.query for request in side.requests if request.path == PODS]
    assert asked[0]["fieldSelector"] == "status.phase!=Succeeded"


def test_why_a_pod_waits_is_told(source: Source, cluster: Cluster) -> None:
    waiting = pod("web", phase="Pending")
    waiting["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    cluster.lists[PODS] = [waiting]
    descriptions = {one.name: one.description for one in collect(source).found or ()}
    assert descriptions["shop/web"] == "Pending · CrashLoopBackOff · node-1"


@pytest.mark.parametrize("answer", [None, (404, {"message": "not found"})])
def test_a_cluster_without_metrics_is_no_complaint(source: Source, cluster: Cluster, answer: Reply | None) -> None:
    cluster.lists[PODS] = [pod("web")]
    if answer:
        cluster.odd = {POD_USAGE: answer, NODE_USAGE: answer}
    collected = collect(source)
    assert collected.complaint == ""
    assert set(found(collected, "shop/web")) == {"restarts", "uptime"}


def test_metrics_that_do_not_answer_leave_the_rest_and_are_told(source: Source, cluster: Cluster) -> None:
    cluster.lists[PODS] = [pod("web")]
    cluster.odd[POD_USAGE] = (503, {"message": "the server is currently unable to handle the request"})
    collected = collect(source)
    assert "status 503: the server is currently unable" in say(collected.complaint)
    assert found(collected, "shop/web")["restarts"] == 0.0


def test_only_the_wanted_namespaces_are_asked_for(source: Source, cluster: Cluster, side: FarSide) -> None:
    source.options |= {"namespaces": "shop, billing", "nodes": False}
    cluster.lists["/api/v1/namespaces/shop/pods"] = [pod("web")]
    cluster.lists["/api/v1/namespaces/billing/pods"] = []
    collected = collect(source)
    assert names(collected) == ["shop/web"]
    assert "nodes_ready" not in of_cluster(collected)
    assert PODS not in {request.path for request in side.requests}


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("empty_redis")
def test_a_run_makes_servers(source: Source, server: Server, cluster: Cluster) -> None:
    cluster.lists[PODS] = [pod("web")]
    source.server = server
    source.save()
    assert run_once(source).error == ""
    kinds = dict(Server.objects.exclude(pk=server.pk).values_list("name", "kind"))
    assert kinds == {"alpha/shop/web": "pod", "alpha/node-1": "host"}


# --- Pages ------------------------------------------------------------------------------------------------------------
def test_lists_are_read_page_by_page(source: Source, cluster: Cluster) -> None:
    cluster.lists[PODS] = [pod(f"p{n}") for n in range(7)]
    assert of_cluster(collect(source))["pods"] == 7.0


def test_a_list_that_expires_is_begun_again(source: Source, cluster: Cluster) -> None:
    cluster.lists[PODS] = [pod(f"p{n}") for n in range(7)]
    cluster.expiring = 2
    assert of_cluster(collect(source))["pods"] == 7.0


def test_a_list_that_always_expires_is_given_up(source: Source, cluster: Cluster) -> None:
    cluster.lists[PODS] = [pod(f"p{n}") for n in range(7)]
    cluster.expiring = 99
    with pytest.raises(CollectError, match="/api/v1/pods: the list expired while it was read"):
        collect(source)


def test_a_list_that_never_ends_is_given_up(source: Source, cluster: Cluster) -> None:
    cluster.odd[PODS] = (200, {"items": [pod("web")], "metadata": {"continue": "again"}})
    with pytest.raises(CollectError, match="the list never ends"):
        collect(source)


def test_a_list_beyond_the_limit_is_refused(source: Source, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "LIST_BYTES", 1000)
    cluster.lists[PODS] = [pod(f"p{n}") for n in range(7)]
    with pytest.raises(CollectError, match="the list is larger"):
        collect(source)


# --- Faults -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((403, {"message": 'pods is forbidden: User "x" cannot list resource'}), "status 403: pods is forbidden"),
        ((500, b"<html>"), "/api/v1/pods: the answer has the status 500"),
        ((200, b"{"), "/api/v1/pods: the answer is not JSON"),
        ((200, {"items": None}), "/api/v1/pods: the answer is not what was expected"),
        ((200, []), "/api/v1/pods: the answer is not what was expected"),
        (lambda out: out.write(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{}"), "the answer was cut off"),
    ],
)
def test_without_pods_nothing_is_collected(source: Source, cluster: Cluster, reply: Reply, words: str) -> None:
    cluster.odd[PODS] = reply
    with pytest.raises(CollectError, match=words):
        collect(source)


@pytest.mark.parametrize("item", [{}, {"metadata": 7, "spec": [], "status": "?"}, {"status": {"conditions": {}}}])
def test_items_of_any_shape_break_nothing(source: Source, cluster: Cluster, item: dict[str, Any]) -> None:
    cluster.lists = {path: [item] for path in (PODS, NODES, POD_USAGE, NODE_USAGE)}
    assert of_cluster(collect(source))["pods"] == 0.0


def test_a_server_that_hangs_ends_at_the_deadline(source: Source, cluster: Cluster) -> None:
    over = threading.Event()
    cluster.odd[PODS] = lambda out: over.wait(20)
    source.timeout_s = 1
    with pytest.raises(CollectError, match="no complete answer within 1 s"):
        collect(source)
    over.set()


# --- Trust ------------------------------------------------------------------------------------------------------------
def test_an_api_server_of_another_authority_never_sees_the_token(source: Source, side: FarSide) -> None:
    source.options = {"authority": authority("somebody else").certificate}
    with pytest.raises(CollectError, match="is not valid"):
        collect(source)
    assert side.requests == []


def test_the_certificate_may_be_left_unchecked(source: Source) -> None:
    source.options = {"verify": False}
    assert of_cluster(collect(source))["nodes_ready"] == 1.0


def test_a_token_is_never_sent_in_the_clear(source: Source) -> None:
    source.url = "http://127.0.0.1:9"
    with pytest.raises(CollectError, match="a token is sent over https:// only"):
        collect(source)


def test_a_wrong_token_is_told_and_not_shown(source: Source) -> None:
    source.sealed_secret = seal("another")
    with pytest.raises(CollectError, match="status 401: Unauthorized") as refused:
        collect(source)
    assert "another" not in str(refused.value)


def test_a_token_of_two_lines_is_told(source: Source) -> None:
    source.sealed_secret = seal("two\r\nX-Other: 1")
    with pytest.raises(CollectError, match="spaces or line breaks"):
        collect(source)


@pytest.mark.parametrize("names", ["shop/../kube-system", "Shop", "-a", "a" * 64])
def test_what_cannot_be_a_namespace_is_refused(names: str) -> None:
    with pytest.raises(ValidationError):
        kubernetes._check_namespaces(names)


# --- Quantities -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("250m", "0.25"),
        ("128Mi", 128 * 1024**2),
        ("1e3", 1000),
        ("1E3", 1000),
        ("12E", 12 * 10**18),
        ("12Ei", 12 * 1024**6),
        ("0.1", "0.1"),
        (".5Gi", 1024**3 // 2),
        ("5.", 5),
        ("-3k", -3000),
        ("123456789n", "0.123456789"),
        ("1500u", "0.0015"),
        ("2e-3", "0.002"),
        ("9223372036854775807", 9223372036854775807),
    ],
)
def test_a_quantity_is_read_exactly(text: str, value: str | int) -> None:
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "m", "1 Mi", "1mi", "1K", "1e", "Ei", "1.2.3", "0x10", "NaN", "1e9999", "٣"])
def test_what_is_no_quantity_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        quantity(text)
    assert amount({"cpu": text}, "cpu") != amount({"cpu": text}, "cpu")


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    amount({"cpu": text}, "cpu")


@given(st.integers(-(10**15), 10**15), st.sampled_from([("m", -3), ("", 0), ("k", 3), ("G", 9)]))
def test_whole_numbers_keep_every_digit(number: int, suffix: tuple[str, int]) -> None:
    letter, power = suffix
    assert quantity(f"{number}{letter}") == Decimal(number).scaleb(power)
