"""From what an API server lists to values: of the cluster, of its nodes, and of its pods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import fsum, isnan

from monitoring.collectors.base import Found
from monitoring.collectors.counters import NAN
from monitoring.collectors.measures import MB, Values, percent, tidy
from monitoring.collectors.quantities import amount
from monitoring.collectors.shape import Shape, instant, number, objects, text
from monitoring.history.frame import SeriesName
from monitoring.models import ServerKind

FINISHED = {"Succeeded", "Failed"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Cores and bytes in use; NaN when nobody says."""

    cores: float = NAN
    memory: float = NAN


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    is_ready: bool
    cores: float
    memory: float


@dataclass(frozen=True, slots=True)
class Pod:
    """`limits` and `requests` are those of all its containers together; NaN when one of them has none."""

    name: str
    phase: str
    node: str
    trouble: str
    restarts: float
    started_s: float
    limits: Usage
    requests: Usage

    @property
    def is_over(self) -> bool:
        return self.phase in FINISHED


# --- What is listed ---------------------------------------------------------------------------------------------------
def read_node(item: Shape) -> Node:
    ready = (text(each, "status") for each in objects(item, "status", "conditions") if text(each, "type") == "Ready")
    capacity = ("status", "capacity")
    return Node(
        text(item, "metadata", "name"),
        next(ready, "") == "True",
        amount(item, *capacity, "cpu"),
        amount(item, *capacity, "memory"),
    )


def read_pod(item: Shape) -> Pod:
    containers = objects(item, "spec", "containers")
    statuses = objects(item, "status", "containerStatuses")
    waiting = (text(each, "state", "waiting", "reason") for each in statuses)
    return Pod(
        full_name(item),
        text(item, "status", "phase"),
        text(item, "spec", "nodeName"),
        text(item, "status", "reason") or next(filter(None, waiting), ""),
        fsum(count for each in statuses if not isnan(count := number(each, "restartCount"))),
        instant(item, "status", "startTime"),
        _of_all(containers, "limits"),
        _of_all(containers, "requests"),
    )


def full_name(item: Shape) -> str:
    """Of a pod: two namespaces may have pods of one name."""
    return f"{text(item, 'metadata', 'namespace')}/{text(item, 'metadata', 'name')}"


def _of_all(containers: Iterable[Shape], kind: str) -> Usage:
    shares = [
        Usage(amount(each, "resources", kind, "cpu"), amount(each, "resources", kind, "memory")) for each in containers
    ]
    return _together(shares)


def _together(shares: Iterable[Usage]) -> Usage:
    """NaN as soon as one is not known: half of a sum is no sum."""
    shares = list(shares)
    if not shares:
        return Usage()
    return Usage(fsum(each.cores for each in shares), fsum(each.memory for each in shares))


def read_node_usage(item: Shape) -> tuple[str, Usage]:
    return text(item, "metadata", "name"), _usage(item)


def read_pod_usage(item: Shape) -> tuple[str, Usage]:
    return full_name(item), _together(_usage(container) for container in objects(item, "containers"))


def _usage(item: Shape) -> Usage:
    return Usage(amount(item, "usage", "cpu"), amount(item, "usage", "memory"))


# --- Values -----------------------------------------------------------------------------------------------------------
def cluster_values(nodes: list[Node] | None, pods: list[Pod], usage: Mapping[str, Usage]) -> Values:
    """The cluster as one machine; `nodes` is None when they were not asked for."""
    phases = Counter(pod.phase for pod in pods)
    values = {
        SeriesName("pods"): float(phases["Running"]),
        SeriesName("pods_pending"): float(phases["Pending"]),
        SeriesName("pods_failed"): float(phases["Failed"]),
        SeriesName("restarts"): fsum(pod.restarts for pod in pods if not pod.is_over),
    }
    if nodes is not None:
        ready = sum(node.is_ready for node in nodes)
        values[SeriesName("nodes_ready")] = float(ready)
        values[SeriesName("nodes_not_ready")] = float(len(nodes) - ready)
        measured = [node for node in nodes if node.name in usage]
        capacity = _together(Usage(node.cores, node.memory) for node in measured or nodes)
        values |= _used(_together(usage[node.name] for node in measured), capacity)
    return _known(values)


def _known(values: Values) -> Values:
    """What nobody measures is no series: a cluster may have no metrics server."""
    return tidy({name: value for name, value in values.items() if not isnan(value)})


def found_nodes(nodes: Iterable[Node], pods: Iterable[Pod], usage: Mapping[str, Usage]) -> list[Found]:
    held = Counter(pod.node for pod in pods if not pod.is_over)
    return [
        Found(
            node.name,
            ServerKind.HOST,
            _known(
                {
                    SeriesName("pods"): float(held[node.name]),
                    **_used(usage.get(node.name, Usage()), Usage(node.cores, node.memory)),
                }
            ),
            "Ready" if node.is_ready else "NotReady",  # the cluster's own words
        )
        for node in nodes
    ]


def found_pods(
    pods: Iterable[Pod], nodes: Iterable[Node], usage: Mapping[str, Usage] | None, now_ms: int
) -> list[Found]:
    """Without finished ones; `usage` is None when the cluster measures none."""
    machines = {node.name: Usage(node.cores, node.memory) for node in nodes}
    return [
        Found(pod.name, ServerKind.POD, _known(_pod_values(pod, machines, usage, now_ms)), _description(pod))
        for pod in pods
        if not pod.is_over
    ]


def _description(pod: Pod) -> str:
    return " · ".join(filter(None, (pod.phase, pod.trouble, pod.node)))


def _pod_values(pod: Pod, machines: Mapping[str, Usage], usage: Mapping[str, Usage] | None, now_ms: int) -> Values:
    values = {SeriesName("restarts"): pod.restarts, SeriesName("uptime"): now_ms / 1000 - pod.started_s}
    if usage is None:
        return values
    used, machine = usage.get(pod.name, Usage()), machines.get(pod.node, Usage())
    values[SeriesName("memory_used")] = used.memory / MB
    values |= _shares(used, machine, "cpu", "memory")
    values |= _shares(used, pod.limits, "cpu_limit_share", "memory_limit_share")
    values |= _shares(used, pod.requests, "cpu_request_share", "memory_request_share")
    return values


def _shares(used: Usage, whole: Usage, cpu: str, memory: str) -> Values:
    """Nothing where there is no whole."""
    values = {}
    if whole.cores > 0:
        values[SeriesName(cpu)] = percent(used.cores, whole.cores)
    if whole.memory > 0:
        values[SeriesName(memory)] = percent(used.memory, whole.memory)
    return values


def _used(used: Usage, capacity: Usage) -> Values:
    return {
        SeriesName("cpu"): percent(used.cores, capacity.cores),
        SeriesName("cpu_cores"): capacity.cores,
        SeriesName("memory"): percent(used.memory, capacity.memory),
        SeriesName("memory_used"): used.memory / MB,
        SeriesName("memory_total"): capacity.memory / MB,
    }
