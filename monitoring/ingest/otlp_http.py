"""What OTLP over HTTP has in common for all signals: bodies as protobuf or JSON, and answers in the same form."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError

from monitoring.ingest.answers import facts_of
from monitoring.ingest.door import Taken
from monitoring.ingest.points import BadBodyError
from monitoring.ingest.protobuf import encoded_varint
from portal.toolkit.intake import Answer, Push, failure

MAX_BYTES = 8 << 20
LARGE = 1 << 20
"""Bodies beyond it are decoded one at a time: as messages they take up to thirty times their size in memory."""
JSON = re.compile(r"application/json\s*(?:;.*)?", re.I)
PROTOBUF = re.compile(r"application/x-protobuf\s*(?:;.*)?", re.I)

INVALID_ARGUMENT = 3  # of google.rpc.Code


@dataclass(frozen=True, slots=True)
class Signal:
    """Metrics, or logs: the messages, the field with the resources, and how refusals are counted in the answer."""

    request: Callable[[], Any]
    response: Callable[[], Any]
    resources: str
    rejected: str


def is_json(push: Push) -> bool:
    """The form of the body. Raises BadBodyError when it is neither."""
    said = push.headers.get("content-type", "").strip()
    if not JSON.fullmatch(said) and not PROTOBUF.fullmatch(said):
        raise BadBodyError("send application/x-protobuf or application/json (OTLP over HTTP)", 415)
    if push.headers.get("content-encoding", "").strip().lower() == "snappy":
        raise BadBodyError("the body may be packed by gzip or deflate", 415)
    return JSON.fullmatch(said) is not None


def from_protobuf(signal: Signal, body: bytes) -> Any:
    """Raises BadBodyError."""
    request = signal.request()
    name = request.DESCRIPTOR.name
    try:
        request.MergeFromString(body)
    except DecodeError:
        raise BadBodyError(f"the body is not an {name} in protobuf") from None
    if body and not getattr(request, signal.resources):
        raise BadBodyError(f"the body is not an {name}: it has no resource")
    return request


def from_json(signal: Signal, said: Any) -> Any:
    """Of what was parsed. Unknown fields are left aside. Raises BadBodyError."""
    request = signal.request()
    wrong = f"the body is not an {request.DESCRIPTOR.name}"
    if not isinstance(said, dict):
        raise BadBodyError(f"{wrong}: not an object")
    try:
        ParseDict(said, request, ignore_unknown_fields=True)
    except (ParseError, RecursionError) as error:
        raise BadBodyError(f"{wrong}: {str(error)[:300]}") from None
    except (TypeError, ValueError, AttributeError):
        raise BadBodyError(f"{wrong}: something has a wrong type") from None
    return request


def listed(said: Any, *names: str) -> Iterator[Any]:
    """What is in the lists of the object `said` that have one of the names."""
    if isinstance(said, dict):
        for name in names:
            if isinstance(items := said.get(name), list):
                yield from items


def answer(signal: Signal, taken: Taken, records: int, wrong: str, *, json: bool) -> Answer:
    """As the protocol has it: 200 with what was refused of `records` in words, 400 when nothing was taken.

    `wrong` says why the body is none, in words, or is "".
    """
    status, refused, words = _outcome(taken, records, wrong)
    return (_json_answer if json else _protobuf_answer)(signal, taken, status, refused, words, wrong)


def _outcome(taken: Taken, records: int, wrong: str) -> tuple[int, int, str]:
    """The status, how many records were refused, and what is wrong, in words. A histogram is one data point and many
    samples, so that the number may be too high; never higher than what came."""
    if wrong:
        return 400, 0, wrong
    if not taken.rejected:
        return 200, 0, ""
    first = facts_of(taken)["refused"][0]
    more = f" (and {taken.refused - 1} more)" if taken.refused > 1 else ""
    words = f"{first['where']}: {first['reason']}{more}"
    return 200 if taken.kept else 400, min(taken.refused, records), words


def _json_answer(signal: Signal, taken: Taken, status: int, refused: int, words: str, wrong: str) -> Answer:
    if status != 200:
        told = failure(status, "bad_body" if wrong else "refused", words, **facts_of(taken))
        assert isinstance(told.body, dict)
        return Answer(status, {**told.body, "code": INVALID_ARGUMENT})
    head, *rest = signal.rejected.split("_")
    rejected = head + "".join(word.capitalize() for word in rest)
    partial = {"partialSuccess": {rejected: str(refused), "errorMessage": words}} if words else {}
    return Answer(200, {**partial, **facts_of(taken)})


def _protobuf_answer(signal: Signal, _taken: Taken, status: int, refused: int, words: str, _wrong: str) -> Answer:
    if status != 200:
        return Answer(status, _status(words), content_type="application/x-protobuf")
    response = signal.response()
    if words:
        setattr(response.partial_success, signal.rejected, refused)
        response.partial_success.error_message = words
    return Answer(200, response.SerializeToString(), content_type="application/x-protobuf")


def _status(words: str) -> bytes:
    """A google.rpc.Status: 1 its code, 2 the message."""
    text = words.encode()[:1000]
    return bytes([1 << 3, INVALID_ARGUMENT, 2 << 3 | 2]) + encoded_varint(len(text)) + text
