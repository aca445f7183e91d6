"""POST /api/push: what our own agent sends, and scripts. One JSON object a host, or a list of them."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from django.utils import timezone

from monitoring.history.frame import SeriesName, canonical_labels
from monitoring.ingest import receipts
from monitoring.ingest.answers import answer_of
from monitoring.ingest.door import take
from monitoring.ingest.points import BadBodyError, HostFacts, Points, PointSeries
from monitoring.ingest.refusals import Refusals
from monitoring.models import PushToken, ServerKind
from portal.toolkit.instants import at_ms
from portal.toolkit.intake import Answer, Push

ORIGIN = "push"
MAX_BYTES = 4 << 20
TYPES = re.compile(r"(?:application/(?:[\w.-]+\+)?json|text/json)\s*(?:;.*)?", re.I)
OBJECT = frozenset({"host", "at", "interval", "metrics", "frames", "kind", "description"})
FRAME = frozenset({"at", "metrics"})
LATEST_S = 1e11
"""Seconds of the epoch; larger numbers are milliseconds by mistake, or worse."""

_KEY = re.compile(r'\s*([^\s{}"][^{}"]*?)\s*(?:\{(.*)\}\s*)?', re.S)
_LABEL = re.compile(r'\s*([A-Za-z_][\w.]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|$)', re.S)
_ESCAPED = re.compile(r"\\(.)", re.S)
_LETTERS = {"n": "\n"}


def accept(push: Push, token: PushToken) -> Answer:
    """Raises BadBodyError and OperationalError."""
    content_type = push.headers.get("content-type", "")
    if content_type and not TYPES.fullmatch(content_type):
        raise BadBodyError("the body must be JSON: Content-Type: application/json (curl --json)", 415)
    key = push.headers.get("idempotency-key", "")
    if not key:
        return _keep(push.body, token, timezone.now())
    return receipts.once(token, key, push.body, lambda now: _keep(push.body, token, now))


def _keep(body: bytes, token: PushToken, now: datetime) -> Answer:
    return answer_of(take(decode(body, now), token, origin=ORIGIN))


def decode(body: bytes, now: datetime) -> Points:
    """The samples of a body; those without a time are of `now`. Raises BadBodyError when it is no JSON."""
    said = _parse(body)
    reader = _Reader(at_ms(now))
    if isinstance(said, list):
        for index, each in enumerate(said):
            reader.read_object(each, f"[{index}]")
    else:
        reader.read_object(said, "")
    return reader.points()


class _Repeated(dict[str, Any]):
    """An object that says some of its names more than once."""

    names: frozenset[str]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    repeated = _Repeated(plain)
    repeated.names = frozenset(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
    return repeated


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _parse(body: bytes) -> Any:
    try:
        return _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise BadBodyError(f"the body is not UTF-8: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise BadBodyError(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise BadBodyError("the body is nested too deeply") from None
    except ValueError:
        raise BadBodyError("the body has a number with too many digits") from None


class _RefusedError(Exception):
    """A part cannot be taken; the message says why."""


class _Frame(NamedTuple):
    at: Any
    metrics: Any
    where: str


class _Reader:
    """Collects samples in columns."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._numbers: dict[PointSeries, int] = {}
        self._which: list[int] = []
        self._at_ms: list[int] = []
        self._values: list[float] = []
        self._points = Points()
        self._refusals = Refusals()

    def points(self) -> Points:
        self._points.series = list(self._numbers)
        self._points.which = np.array(self._which, np.intp)
        self._points.at_ms = np.array(self._at_ms, np.int64)
        self._points.values = np.array(self._values, np.float64)
        self._points.rejected = self._refusals.rejected()
        return self._points

    def read_object(self, said: Any, where: str) -> None:
        """All of one host."""
        try:
            _check_names(said, OBJECT, "an object with host and metrics")
            host = _text(said, "host")
            if "interval" in said:
                self._points.intervals_s[host] = _interval_s(said["interval"])
            if "kind" in said or "description" in said:
                self._points.hosts[host] = HostFacts(_kind(said), _text(said, "description"))
            frames = list(_frames_of(said, f"{where}." if where else ""))
        except _RefusedError as error:
            self._refuse(where or "the body", str(error), _size(said))
            return
        for frame in frames:
            self._read_frame(host, frame)

    def _read_frame(self, host: str, frame: _Frame) -> None:
        try:
            instant_ms = self._now_ms if frame.at is None else _instant_ms(frame.at)
            if not isinstance(frame.metrics, dict):
                raise _RefusedError("metrics must be an object of names and numbers")
        except _RefusedError as error:
            self._refuse(frame.where or "the body", str(error), _size({"metrics": frame.metrics}))
            return
        repeated = frame.metrics.names if isinstance(frame.metrics, _Repeated) else frozenset()
        for key, value in frame.metrics.items():
            self._read_value(host, instant_ms, key, value, frame.where, key in repeated)

    def _read_value(self, host: str, instant_ms: int, key: str, value: Any, where: str, repeated: bool) -> None:
        kind = type(value)
        if value is None and not repeated:
            self._points.gaps += 1
            return
        try:
            if repeated:
                raise _RefusedError("is there more than once")
            if kind is not float and kind is not int:
                raise _RefusedError(f"is not a number but {_kind_of_json(value)}")
            number = _finite(value)
            series = PointSeries(host, series_of(key))
        except _RefusedError as error:
            dot = f"{where}." if where else ""
            self._refuse(f"{dot}metrics.{key[:200]}", str(error), 1)
            return
        self._which.append(self._numbers.setdefault(series, len(self._numbers)))
        self._at_ms.append(instant_ms)
        self._values.append(number)

    def _refuse(self, where: str, reason: str, count: int) -> None:
        self._refusals.add(where, reason, count)


@lru_cache(maxsize=50_000)
def series_of(key: str) -> SeriesName:
    """`disk_used_share{mount="/"}` as a name. Raises _RefusedError. A label without a value is none."""
    found = _KEY.fullmatch(key)
    if not found:
        raise _RefusedError('is no name; use name or name{label="value"}')
    name, inside = found.groups()
    return SeriesName(name, canonical_labels(_labels(inside)) if inside else "")


def _labels(inside: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    place = 0
    while inside[place:].strip():
        found = _LABEL.match(inside, place)
        if not found:
            raise _RefusedError('has labels that cannot be read; use name{label="value"}')
        if found[1] in labels:
            raise _RefusedError(f"has the label {found[1]} twice")
        labels[found[1]] = _ESCAPED.sub(lambda letter: _LETTERS.get(letter[1], letter[1]), found[2])
        place = found.end()
    return {label: value for label, value in labels.items() if value}


def _frames_of(said: dict[str, Any], where: str) -> Iterator[_Frame]:
    if ("metrics" in said) == ("frames" in said):
        raise _RefusedError("use either metrics or frames")
    if "metrics" in said:
        yield _Frame(said.get("at"), said["metrics"], where.rstrip("."))
        return
    if "at" in said:
        raise _RefusedError("at belongs into each of the frames")
    if not isinstance(said["frames"], list):
        raise _RefusedError("frames must be a list")
    for index, each in enumerate(said["frames"]):
        _check_names(each, FRAME, f"frames[{index}] must be an object with at and metrics")
        yield _Frame(each.get("at"), each.get("metrics"), f"{where}frames[{index}]")


def _check_names(said: Any, known: frozenset[str], needed: str) -> None:
    if not isinstance(said, dict):
        raise _RefusedError(f"{needed} is needed, not {_kind_of_json(said)}")
    if isinstance(said, _Repeated):
        raise _RefusedError(f"{min(said.names)[:100]} is there more than once")
    if unknown := said.keys() - known:
        raise _RefusedError(f"{min(unknown)[:100]} is not known; use {', '.join(sorted(known))}")


def _text(said: dict[str, Any], name: str) -> str:
    text = said.get(name, "")
    if not isinstance(text, str):
        raise _RefusedError(f"{name} must be text")
    if len(text) > 300 or not text.isprintable():
        raise _RefusedError(f"{name} must be one line of at most 300 visible characters")
    return text


def _kind(said: dict[str, Any]) -> str:
    kind = said.get("kind", ServerKind.HOST)
    if kind not in ServerKind.values:
        raise _RefusedError(f"kind must be one of {', '.join(ServerKind.values)}")
    return str(kind)


def _interval_s(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _RefusedError("interval must be a number of seconds")
    return max(1, round(value))


def _instant_ms(at: Any) -> int:
    """Epoch ms of a number of seconds or of ISO 8601 text with a zone."""
    if isinstance(at, str):
        try:
            instant = datetime.fromisoformat(at)
        except ValueError:
            raise _RefusedError("at is no instant; use seconds of the epoch, or 2026-01-31T12:00:00Z") from None
        if instant.tzinfo is None:
            raise _RefusedError("at has no time zone; end it with Z or +09:00")
        return round(instant.timestamp() * 1000)
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise _RefusedError(f"at is no instant but {_kind_of_json(at)}")
    if not abs(at) < LATEST_S:
        raise _RefusedError("at is no number of seconds since 1970")
    return round(at * 1000)


def _finite(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise _RefusedError("is NaN; leave it out, or send null")
    if math.isinf(number):
        raise _RefusedError("is infinite")
    return number


def _kind_of_json(value: Any) -> str:
    words = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return next((word for kind, word in words.items() if isinstance(value, kind)), "a number")


def _size(said: Any) -> int:
    """How many samples somebody meant to send with this; at least one."""
    parts: Sequence[Any] = [said]
    if isinstance(said, dict) and isinstance(said.get("frames"), list):
        parts = said["frames"]
    metrics = [part.get("metrics") for part in parts if isinstance(part, dict)]
    return max(1, sum(len(each) for each in metrics if isinstance(each, dict)))
