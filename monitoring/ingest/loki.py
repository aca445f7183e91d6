"""POST /loki/api/v1/push: what Loki's senders send, as JSON or as a snappy block that holds a PushRequest.

Its senders repeat what is answered with 429 or 5xx and drop what is answered with 400, which is right here too: what
could not be kept will not be kept when it comes again, and the rest of the body is.
"""

from __future__ import annotations

import re
import threading
from contextlib import nullcontext

from monitoring.ingest.answers import answer_of
from monitoring.ingest.log_streams import Streams
from monitoring.ingest.loki_json import decode as decode_json
from monitoring.ingest.loki_protobuf import decode as decode_protobuf
from monitoring.ingest.points import BadBodyError
from monitoring.ingest.snappy import unpacked
from monitoring.logs.take import take
from monitoring.models import PushToken
from portal.toolkit.intake import Answer, Push

ORIGIN = "loki"
MAX_BYTES = 8 << 20
MAX_UNPACKED = 32 << 20
LARGE = 2 << 20
"""Bodies beyond it are decoded one at a time: senders cut theirs at 1 MB."""
JSON = re.compile(r"application/json\s*(?:;.*)?", re.I)

_large = threading.Lock()


def accept(push: Push, token: PushToken) -> Answer:
    """204 when all is kept, 400 when something is refused. Raises BadBodyError and OperationalError."""
    with _large if len(push.body) > LARGE else nullcontext():
        streams = _decode(push, token.host_label)
    taken = take(streams.made, token, origin=ORIGIN, rejected=streams.refusals.rejected())
    return answer_of(taken) if taken.rejected else Answer(204)


def ready(_push: Push, _nobody: None) -> Answer:
    """Some senders ask whether Loki is up before they send."""
    return Answer(200, b"ready\n", content_type="text/plain; charset=utf-8")


def _decode(push: Push, host_label: str) -> Streams:
    """Any other type is protobuf, as it is for Loki: some senders say none, and nobody names snappy."""
    if JSON.fullmatch(push.headers.get("content-type", "").strip()):
        if push.headers.get("content-encoding", "").strip().lower() == "snappy":
            raise BadBodyError("JSON may be packed by gzip or deflate", 415)
        return decode_json(push.body, host_label)
    return decode_protobuf(_plain(push.body), host_label)


def _plain(body: bytes) -> bytes:
    try:
        return unpacked(body, MAX_UNPACKED)
    except BadBodyError:
        if body.startswith(b"{"):
            raise BadBodyError("JSON needs Content-Type: application/json (curl --json)", 415) from None
        raise
