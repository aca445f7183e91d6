"""POST /v1/metrics: OTLP/HTTP metrics, an ExportMetricsServiceRequest as protobuf or JSON."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import Any

import orjson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from monitoring.ingest import derive, otlp_http
from monitoring.ingest.door import Taken, take
from monitoring.ingest.otlp_points import decode
from monitoring.ingest.points import BadBodyError
from monitoring.models import PushToken
from portal.toolkit.intake import Answer, Push

ORIGIN = "otlp"
MAX_BYTES = otlp_http.MAX_BYTES
METRICS = otlp_http.Signal(
    ExportMetricsServiceRequest, ExportMetricsServiceResponse, "resource_metrics", "rejected_data_points"
)

_large = threading.Lock()


def accept(push: Push, token: PushToken) -> Answer:
    """Raises BadBodyError for what is no OTLP at all, and OperationalError."""
    json = otlp_http.is_json(push)
    try:
        with _large if len(push.body) > otlp_http.LARGE else nullcontext():
            points, data_points = decode((from_json if json else from_protobuf)(push.body))
    except BadBodyError as error:
        return otlp_http.answer(METRICS, Taken(), 0, str(error), json=json)
    taken = take(points, token, origin=ORIGIN)
    derive.derive(points, token)
    return otlp_http.answer(METRICS, taken, data_points, "", json=json)


def from_protobuf(body: bytes) -> ExportMetricsServiceRequest:
    """Raises BadBodyError."""
    request: ExportMetricsServiceRequest = otlp_http.from_protobuf(METRICS, body)
    return request


def from_json(body: bytes) -> ExportMetricsServiceRequest:
    """Left aside are also the ids of exemplars, which are hexadecimal here. Raises BadBodyError."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBodyError(f"the body is not JSON: {error}") from None
    _drop_exemplars(said)
    request: ExportMetricsServiceRequest = otlp_http.from_json(METRICS, said)
    return request


def _drop_exemplars(said: Any) -> None:
    for resource in otlp_http.listed(said, "resourceMetrics", "resource_metrics"):
        for scope in otlp_http.listed(resource, "scopeMetrics", "scope_metrics"):
            for metric in otlp_http.listed(scope, "metrics"):
                for data in metric.values() if isinstance(metric, dict) else ():
                    for point in otlp_http.listed(data, "dataPoints", "data_points"):
                        if isinstance(point, dict):
                            point.pop("exemplars", None)
