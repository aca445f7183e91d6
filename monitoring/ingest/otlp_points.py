"""What OTLP calls resources, metrics and data points, as series and samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    DataPointFlags,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    Summary,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from monitoring.history.frame import SeriesName
from monitoring.ingest.labels import MOST_LABELS, LabelError, series_of, unrepeated
from monitoring.ingest.points import BadBodyError, HostFacts, Points, PointSeries
from monitoring.ingest.refusals import Refusals, without_what_is_no_number
from monitoring.models import ServerKind

MOST_SAMPLES = 500_000
MOST_BUCKETS = 1_000
"""Of one histogram, and quantiles of one summary: each is a series."""
HOST, INSTANCE, SERVICE, NAMESPACE = "host.name", "service.instance.id", "service.name", "service.namespace"

_NO_VALUE = DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


class PointError(ValueError):
    """This data point cannot be kept; the message says why."""


def decode(request: ExportMetricsServiceRequest) -> tuple[Points, int]:
    """The samples of a request, and how many data points it has. Raises BadBodyError when it is too much at once."""
    reader = _Reader()
    for resource_metrics in request.resource_metrics:
        reader.read(resource_metrics)
    return reader.points(), reader.data_points


Pairs = tuple[tuple[str, str], ...]


class _Resource(NamedTuple):
    """Who measures: its host, and the labels that tell it from others on that host."""

    host: str
    labels: Pairs


class _Sample(NamedTuple):
    """One number of a data point: what the metric's name and the point's labels get in addition."""

    value: float
    suffix: str = ""
    labels: Pairs = ()


class _Reader:
    def __init__(self) -> None:
        self._refusals = Refusals()
        self._numbers: dict[PointSeries, int] = {}
        self._which: list[int] = []
        self._at_ms: list[int] = []
        self._values: list[float] = []
        self._gaps = 0
        self._counters: set[str] = set()
        self._hosts: dict[str, HostFacts] = {}
        self.data_points = 0

    def read(self, said: ResourceMetrics) -> None:
        """Raises BadBodyError."""
        metrics = [metric for scope in said.scope_metrics for metric in scope.metrics]
        resource = self._resource(said.resource)
        for metric in metrics:
            kind = metric.WhichOneof("data")
            if kind:
                self._read_metric(resource, metric, _SAMPLES[kind], getattr(metric, kind))

    def points(self) -> Points:
        points = Points(
            series=list(self._numbers),
            which=np.array(self._which, np.intp),
            at_ms=np.array(self._at_ms, np.int64),
            values=np.array(self._values, np.float64),
            gaps=self._gaps,
            counters=self._counters,
            hosts=self._hosts,
        )
        without_what_is_no_number(points, self._refusals)
        points.rejected = self._refusals.rejected()
        return points

    def _resource(self, said: Resource) -> _Resource:
        """Without a host that is named the host is ""; a token for one server alone knows whose it is."""
        known = {pair.key: _text(pair.value) for pair in said.attributes}
        source = next((name for name in (HOST, INSTANCE, SERVICE) if known.get(name)), "")
        host = known.get(source, "")
        labels = tuple(
            (name, known[name]) for name in (NAMESPACE, SERVICE, INSTANCE) if known.get(name) and name != source
        )
        kind = ServerKind.HOST if source == HOST else ServerKind.SERVICE
        self._hosts.setdefault(host, HostFacts(kind, known.get("os.description", "")))
        return _Resource(host, labels)

    def _read_metric(self, resource: _Resource, metric: Metric, samples: Samples, data: Any) -> None:
        grows = samples is not _gauge and _grows(data)
        for point in data.data_points:
            self.data_points += 1
            if point.flags & _NO_VALUE:
                self._gaps += 1
                continue
            try:
                self._add(resource, metric.name, point, samples(data, point), grows)
            except (PointError, LabelError) as error:
                self._refusals.add(f"{resource.host}: {metric.name}", str(error))
            if len(self._values) > MOST_SAMPLES:
                raise BadBodyError(f"a request has at most {MOST_SAMPLES:,} samples", 413)

    def _add(self, resource: _Resource, metric: str, point: Any, samples: Iterable[_Sample], grows: bool) -> None:
        """All of a point or nothing. Raises PointError and LabelError."""
        at_ms = point.time_unix_nano // 1_000_000
        if not at_ms:
            raise PointError("the data point has no time")
        if len(point.attributes) > MOST_LABELS:
            raise LabelError(f"a data point has at most {MOST_LABELS} attributes")
        attributes = tuple((pair.key, _text(pair.value)) for pair in point.attributes)
        named = [
            (_series_name(metric + sample.suffix, resource.labels, attributes, sample.labels), sample.value)
            for sample in samples
        ]
        for name, value in named:
            series = PointSeries(resource.host, name)
            self._which.append(self._numbers.setdefault(series, len(self._numbers)))
            self._at_ms.append(at_ms)
            self._values.append(value)
            if grows and _QUANTILE not in name.labels:
                self._counters.add(name.metric)


@lru_cache(maxsize=100_000)
def _series_name(metric: str, resource: Pairs, attributes: Pairs, more: Pairs) -> SeriesName:
    """Raises LabelError."""
    return series_of(metric, {**dict(resource), **unrepeated(attributes), **dict(more)})


def _text(value: AnyValue) -> str:
    """An attribute's value as a label; lists and maps as JSON."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "int_value":
        return str(value.int_value)
    if kind == "double_value":
        return short(value.double_value)
    return MessageToJson(value, indent=None) if kind else ""


def short(number: float) -> str:
    """As Prometheus writes bounds and quantiles: 5, 0.25, +Inf."""
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)


# --- Data points as samples -------------------------------------------------------------------------------------------
def _grows(data: Any) -> bool:
    """Whether it is cumulative and only grows; summaries always do."""
    if isinstance(data, Summary):
        return True
    return data.aggregation_temporality == _CUMULATIVE and getattr(data, "is_monotonic", True)


def _seconds(data: Any, point: Any) -> float:
    """What an increase is divided by: the seconds in which it grew, 1 for what is cumulative. Raises PointError."""
    if data.aggregation_temporality == _CUMULATIVE:
        return 1.0
    if data.aggregation_temporality != _DELTA:
        raise PointError("it says neither that it is cumulative nor that it is a delta")
    seconds: float = (point.time_unix_nano - point.start_time_unix_nano) / 1e9
    if not point.start_time_unix_nano or seconds <= 0:
        raise PointError("a delta needs a start before its time")
    return seconds


def _number(point: NumberDataPoint) -> float:
    """Raises PointError."""
    kind = point.WhichOneof("value")
    if kind is None:
        raise PointError("the data point has no value")
    return float(getattr(point, kind))


def _gauge(_data: Any, point: NumberDataPoint) -> Iterator[_Sample]:
    yield _Sample(_number(point))


def _sum(data: Any, point: NumberDataPoint) -> Iterator[_Sample]:
    yield _Sample(_number(point) / _seconds(data, point))


def _count_and_sum(data: Any, point: HistogramDataPoint | ExponentialHistogramDataPoint) -> Iterator[_Sample]:
    """Of an exponential histogram that is all that is kept."""
    seconds = _seconds(data, point)
    yield _Sample(point.count / seconds, "_count")
    if point.HasField("sum"):
        yield _Sample(point.sum / seconds, "_sum")


def _histogram(data: Any, point: HistogramDataPoint) -> Iterator[_Sample]:
    """As Prometheus has it: each bucket counts what is up to its bound, and the last one has no bound."""
    counts, bounds = point.bucket_counts or [point.count], point.explicit_bounds
    if len(bounds) > MOST_BUCKETS:
        raise PointError(f"a histogram has at most {MOST_BUCKETS:,} bounds")
    yield from _count_and_sum(data, point)
    if len(counts) != len(bounds) + 1:
        raise PointError("a histogram has one bucket more than bounds")
    seconds, up_to = _seconds(data, point), 0
    for bound, count in zip([*map(short, bounds), "+Inf"], counts, strict=True):
        up_to += count
        yield _Sample(up_to / seconds, "_bucket", (("le", bound),))


def _summary(_data: Any, point: SummaryDataPoint) -> Iterator[_Sample]:
    if len(point.quantile_values) > MOST_BUCKETS:
        raise PointError(f"a summary has at most {MOST_BUCKETS:,} quantiles")
    yield _Sample(point.count, "_count")
    yield _Sample(point.sum, "_sum")
    for quantile in point.quantile_values:
        yield _Sample(quantile.value, "", ((_QUANTILE, short(quantile.quantile)),))


Samples = Callable[[Any, Any], Iterator[_Sample]]
_QUANTILE = "quantile"
_SAMPLES: Mapping[str, Samples] = {
    "gauge": _gauge,
    "sum": _sum,
    "histogram": _histogram,
    "exponential_histogram": _count_and_sum,
    "summary": _summary,
}
