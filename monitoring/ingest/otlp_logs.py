"""POST /v1/logs: OTLP/HTTP logs, an ExportLogsServiceRequest as protobuf or JSON."""

from __future__ import annotations

import base64
import binascii
import threading
from contextlib import nullcontext
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from monitoring.ingest import otlp_http
from monitoring.ingest.door import Taken
from monitoring.ingest.json_body import parse
from monitoring.ingest.otlp_lines import decode
from monitoring.ingest.otlp_repair import repaired
from monitoring.ingest.points import BadBodyError
from monitoring.logs.take import take
from monitoring.models import PushToken
from portal.toolkit.intake import Answer, Push

ORIGIN = "otlp"
MAX_BYTES = otlp_http.MAX_BYTES
LOGS = otlp_http.Signal(ExportLogsServiceRequest, ExportLogsServiceResponse, "resource_logs", "rejected_log_records")
IDS = ("traceId", "spanId", "trace_id", "span_id")

_large = threading.Lock()


def accept(push: Push, token: PushToken) -> Answer:
    """Raises BadBodyError for what is no OTLP at all, and OperationalError."""
    json = otlp_http.is_json(push)
    try:
        with _large if len(push.body) > otlp_http.LARGE else nullcontext():
            streams = decode((from_json if json else from_protobuf)(push.body))
    except BadBodyError as error:
        return otlp_http.answer(LOGS, Taken(), 0, str(error), json=json)
    taken = take(streams.made, token, origin=ORIGIN, rejected=streams.refusals.rejected())
    return otlp_http.answer(LOGS, taken, streams.count, "", json=json)


def from_protobuf(body: bytes) -> ExportLogsServiceRequest:
    """Texts that are not UTF-8 are put right: of a batch of files one may be in another encoding.

    Raises BadBodyError.
    """
    try:
        request: ExportLogsServiceRequest = otlp_http.from_protobuf(LOGS, body)
    except BadBodyError:
        right = repaired(body)
        if right is None:
            raise
        request = otlp_http.from_protobuf(LOGS, right)
    return request


def from_json(body: bytes) -> ExportLogsServiceRequest:
    """Raises BadBodyError."""
    said = parse(body)
    _recode_ids(said)
    request: ExportLogsServiceRequest = otlp_http.from_json(LOGS, said)
    return request


def _recode_ids(said: Any) -> None:
    """Ids are hexadecimal here, and not in base64 as bytes are in JSON elsewhere. What is neither is left out."""
    for resource in otlp_http.listed(said, "resourceLogs", "resource_logs"):
        for scope in otlp_http.listed(resource, "scopeLogs", "scope_logs"):
            for record in otlp_http.listed(scope, "logRecords", "log_records"):
                for name in IDS if isinstance(record, dict) else ():
                    if name in record:
                        record[name] = _base64(record[name])


def _base64(identity: Any) -> str:
    try:
        return base64.b64encode(binascii.unhexlify(identity)).decode()
    except (TypeError, ValueError):
        return ""
