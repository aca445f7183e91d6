"""POST /v1/metrics: OTLP/HTTP metrics, an ExportMetricsServiceRequest as protobuf or JSON."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import orjson
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from monitoring.ingest import derive
from monitoring.ingest.answers import facts_of
from monitoring.ingest.door import Taken, take
from monitoring.ingest.otlp_points import decode
from monitoring.ingest.points import BadBodyError
from monitoring.ingest.protobuf import encoded_varint
from monitoring.models import PushToken
from portal.toolkit.intake import Answer, Push, failure

ORIGIN = "otlp"
MAX_BYTES = 8 << 20
LARGE = 1 << 20
"""Bodies beyond it are decoded one at a time: as messages they take up to thirty times their size in memory."""
JSON = re.compile(r"application/json\s*(?:;.*)?", re.I)
PROTOBUF = re.compile(r"application/x-protobuf\s*(?:;.*)?", re.I)

INVALID_ARGUMENT = 3  # of google.rpc.Code

_large = threading.Lock()


def accept(push: Push, token: PushToken) -> Answer:
    """As the protocol has it: 200 with what was refused in words, 400 when nothing was taken.

    Raises BadBodyError for what is no OTLP at all, and OperationalError.
    """
    said = push.headers.get("content-type", "").strip()
    if JSON.fullmatch(said):
        parse, answer = from_json, _json_answer
    elif PROTOBUF.fullmatch(said):
        parse, answer = from_protobuf, _protobuf_answer
    else:
        raise BadBodyError("send application/x-protobuf or application/json (OTLP over HTTP)", 415)
    if push.headers.get("content-encoding", "").strip().lower() == "snappy":
        raise BadBodyError("the body may be packed by gzip or deflate", 415)
    try:
        with _large if len(push.body) > LARGE else nullcontext():
            points, data_points = decode(parse(push.body))
    except BadBodyError as error:
        return answer(Taken(), 0, str(error))
    taken = take(points, token, origin=ORIGIN)
    derive.derive(points, token)
    return answer(taken, data_points, "")


def from_protobuf(body: bytes) -> ExportMetricsServiceRequest:
    """Raises BadBodyError."""
    try:
        request: ExportMetricsServiceRequest = ExportMetricsServiceRequest.FromString(body)
    except DecodeError:
        raise BadBodyError("the body is not an ExportMetricsServiceRequest in protobuf") from None
    if body and not request.resource_metrics:
        raise BadBodyError("the body is not an ExportMetricsServiceRequest: it has no resource")
    return request


def from_json(body: bytes) -> ExportMetricsServiceRequest:
    """Unknown fields are left aside, also the ids of exemplars, which are hexadecimal here. Raises BadBodyError."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadBodyError(f"the body is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise BadBodyError("the body is not an ExportMetricsServiceRequest: not an object")
    _drop_exemplars(said)
    request = ExportMetricsServiceRequest()
    try:
        ParseDict(said, request, ignore_unknown_fields=True)
    except (ParseError, RecursionError) as error:
        raise BadBodyError(f"the body is not an ExportMetricsServiceRequest: {str(error)[:300]}") from None
    except (TypeError, ValueError, AttributeError):
        raise BadBodyError("the body is not an ExportMetricsServiceRequest: something has a wrong type") from None
    return request


def _drop_exemplars(said: Any) -> None:
    for resource in _listed(said, "resourceMetrics", "resource_metrics"):
        for scope in _listed(resource, "scopeMetrics", "scope_metrics"):
            for metric in _listed(scope, "metrics"):
                for data in metric.values() if isinstance(metric, dict) else ():
                    for point in _listed(data, "dataPoints", "data_points"):
                        if isinstance(point, dict):
                            point.pop("exemplars", None)


def _listed(said: Any, *names: str) -> Iterator[Any]:
    if isinstance(said, dict):
        for name in names:
            if isinstance(items := said.get(name), list):
                yield from items


# --- Answers ----------------------------------------------------------------------------------------------------------
def _outcome(taken: Taken, data_points: int, wrong: str) -> tuple[int, int, str]:
    """The status, how many data points were refused, and what is wrong, in words. A histogram is one data point and
    many samples, so that the number may be too high; never higher than what came."""
    if wrong:
        return 400, 0, wrong
    if not taken.rejected:
        return 200, 0, ""
    first = facts_of(taken)["refused"][0]
    more = f" (and {taken.refused - 1} more)" if taken.refused > 1 else ""
    return (
        200 if taken.kept else 400,
        min(taken.refused, data_points),
        f"{first['where']}: {first['reason']}{more}",
    )


def _json_answer(taken: Taken, data_points: int, wrong: str) -> Answer:
    status, refused, words = _outcome(taken, data_points, wrong)
    if status != 200:
        told = failure(status, "bad_body" if wrong else "refused", words, **facts_of(taken))
        assert isinstance(told.body, dict)
        return Answer(status, {**told.body, "code": INVALID_ARGUMENT})
    partial = {"partialSuccess": {"rejectedDataPoints": str(refused), "errorMessage": words}} if words else {}
    return Answer(200, {**partial, **facts_of(taken)})


def _protobuf_answer(taken: Taken, data_points: int, wrong: str) -> Answer:
    status, refused, words = _outcome(taken, data_points, wrong)
    if status != 200:
        return Answer(status, _status(words), content_type="application/x-protobuf")
    response = ExportMetricsServiceResponse()
    if words:
        response.partial_success.rejected_data_points = refused
        response.partial_success.error_message = words
    return Answer(200, response.SerializeToString(), content_type="application/x-protobuf")


def _status(words: str) -> bytes:
    """A google.rpc.Status: 1 its code, 2 the message."""
    text = words.encode()[:1000]
    return bytes([1 << 3, INVALID_ARGUMENT, 2 << 3 | 2]) + encoded_varint(len(text)) + text
