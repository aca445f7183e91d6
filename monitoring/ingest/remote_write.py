"""POST /api/v1/write: Prometheus remote_write 1.0, a snappy block that holds a WriteRequest.

Field numbers are those of prometheus/prompb: WriteRequest 1 timeseries, 3 metadata; TimeSeries 1 labels, 2 samples,
4 native histograms; Label 1 name, 2 value; Sample 1 value, 2 epoch ms; MetricMetadata 1 type, 2 family.
"""

from __future__ import annotations

import re
import struct
import threading
from typing import NamedTuple

import numpy as np

from monitoring.ingest import derive, kinds
from monitoring.ingest.answers import answer_of
from monitoring.ingest.door import take
from monitoring.ingest.labels import MOST_LABELS, LabelError, host_of, series_of, unrepeated
from monitoring.ingest.points import BadBodyError, Points, PointSeries
from monitoring.ingest.protobuf import BYTES, FIXED64, VARINT, WireError, fields, signed, varint
from monitoring.ingest.refusals import Refusals, without_what_is_no_number
from monitoring.ingest.shelves import MAX_METRIC
from monitoring.ingest.snappy import unpacked
from monitoring.models import PushToken
from portal.toolkit.intake import Answer, Push

ORIGIN = "remote_write"
MAX_BYTES = 8 << 20
MAX_UNPACKED = 32 << 20
MOST_SERIES = 100_000
MOST_SAMPLES = 500_000
KNOWN_BYTES = 64 << 20
TYPES = re.compile(r"application/x-protobuf\s*(?:;\s*proto=\"?prometheus\.WriteRequest\"?\s*)?", re.I)

Known = dict[bytes, PointSeries]
"""By the bytes of its labels, which are the same in every request: the series."""

NATIVE = "native histograms are not taken; classic ones are"

_SERIES_TAG = 0x0A
_METADATA = 3
# Types of metadata: counters grow; gauges, gauge histograms, infos and state sets do not. Of histograms and summaries
# the suffixes tell, and of the unknown.
_GROWS = {1: True, 2: False, 4: False, 6: False, 7: False}

# A last field 2 of 16 bytes: a Sample with a value and an instant of 6 bytes, as those from 2004 to 2109 are.
_SAMPLE, _SAMPLE_SIZE = b"\x12\x10\x09", 18
# The same without its value, which is then 0.
_ZERO, _ZERO_SIZE = b"\x12\x07\x10", 9
_TAIL = np.dtype([("value", "<f8"), ("tag", "u1"), ("at", "u1", 6)])
_NO_VALUE = bytes(8)
_SHIFTS = 7 * np.arange(6, dtype=np.int64)
_FLOAT = struct.Struct("<d")

_known: dict[str, Known] = {}
_known_bytes = 0
_filling = threading.Lock()


class Written(NamedTuple):
    """What a request says. `only_grow` tells of metrics whether they do."""

    points: Points
    only_grow: dict[str, bool]


def accept(push: Push, token: PushToken) -> Answer:
    """Raises BadBodyError and OperationalError."""
    _check_headers(push)
    written = decode(unpacked(push.body, MAX_UNPACKED), token.host_label)
    taken = take(written.points, token, origin=ORIGIN)
    kinds.learn(written.only_grow)
    derive.derive(written.points, token)
    return answer_of(taken)


def _check_headers(push: Push) -> None:
    said = push.headers.get("content-type", "")
    version = push.headers.get("x-prometheus-remote-write-version", "")
    if "v2" in said or version.startswith("2"):
        raise BadBodyError("this is remote_write 2.0; send 1.0: protobuf_message: prometheus.WriteRequest", 415)
    if said and not TYPES.fullmatch(said.strip()):
        raise BadBodyError("the body must be a WriteRequest: Content-Type: application/x-protobuf", 415)
    if push.headers.get("content-encoding", "").strip().lower() != "snappy":
        raise BadBodyError("the body must be packed: Content-Encoding: snappy", 415)


def decode(plain: bytes, host_label: str) -> Written:
    """The samples of a WriteRequest; hosts are named by the label `host_label`. Raises BadBodyError when it is none."""
    reader = _Reader(plain, host_label)
    try:
        if not reader.read():
            reader = _Reader(plain, host_label)
            reader.read(quickly=False)
    except WireError as error:
        raise BadBodyError(f"the body is not a WriteRequest: {error}") from None
    if plain and not reader.understood:
        raise BadBodyError("the body is not a WriteRequest of remote_write 1.0: it has no time series")
    return Written(reader.points(), reader.only_grow)


def forget() -> None:
    """What was remembered of labels goes."""
    global _known_bytes
    with _filling:
        _known.clear()
        _known_bytes = 0


class _Reader:
    """Reads a WriteRequest once. `understood`: something of it was as remote_write 1.0 has it."""

    def __init__(self, data: bytes, host_label: str) -> None:
        self._data = data
        self._host_label = host_label
        self._known = _known.setdefault(host_label, {})
        self._refusals = Refusals()
        self._series: list[PointSeries] = []
        # Most series have one usual sample: its bytes are kept, and read with those of all others at once.
        self._tails: list[bytes] = []
        self._with_tail: list[int] = []
        self._which: list[int] = []
        self._at_ms: list[int] = []
        self._values: list[float] = []
        self._left = MOST_SERIES
        self.only_grow: dict[str, bool] = {}
        self.understood = False

    def read(self, *, quickly: bool = True) -> bool:
        """False when what looked usual was not: read it anew, not `quickly`. Raises WireError and BadBodyError."""
        data, end = self._data, len(self._data)
        known = self._known if quickly else {}
        place = 0
        try:
            while place < end:
                if data[place] != _SERIES_TAG:
                    place = self._read_other(place)
                    continue
                size, start = data[place + 1], place + 2
                if size >= 0x80:
                    if data[start] < 0x80:
                        size, start = (size & 0x7F) | data[start] << 7, start + 1
                    else:
                        size, start = varint(data, place + 1, end)
                stop = start + size
                found = None
                if size > _SAMPLE_SIZE and data[stop - 18 : stop - 15] == _SAMPLE:
                    found, tail = known.get(data[start : stop - 18]), data[stop - 15 : stop]
                elif size > _ZERO_SIZE and data[stop - 9 : stop - 6] == _ZERO:
                    found, tail = known.get(data[start : stop - 9]), _NO_VALUE + data[stop - 7 : stop]
                if found is None:
                    if stop > end:
                        raise WireError(f"byte {place}: the message is cut off")
                    self._read_series(start, stop)
                else:
                    self._with_tail.append(len(self._series))
                    self._series.append(found)
                    self._tails.append(tail)
                place = stop
        except IndexError:
            raise WireError(f"byte {place}: the message is cut off") from None
        if len(self._series) > MOST_SERIES:
            raise BadBodyError(f"a request has at most {MOST_SERIES:,} series", 413)
        self.understood |= bool(self._series)
        return not self._tails or _are_usual(self._tails)

    def points(self) -> Points:
        which = np.array(self._which, np.intp)
        at_ms = np.array(self._at_ms, np.int64)
        values = np.array(self._values, np.float64)
        if self._tails:
            tails = np.frombuffer(b"".join(self._tails), _TAIL)
            which = np.concatenate([which, np.array(self._with_tail, np.intp)])
            at_ms = np.concatenate([at_ms, ((tails["at"] & 0x7F).astype(np.int64) << _SHIFTS).sum(axis=1)])
            values = np.concatenate([values, tails["value"]])
            if self._which:  # of two samples for one instant the first in the body is the first
                order = np.argsort(which, kind="stable")
                which, at_ms, values = which[order], at_ms[order], values[order]
        metrics = {series.name.metric for series in self._series}
        points = Points(self._series, which, at_ms, values, counters=set(filter(kinds.only_grows, metrics)))
        without_what_is_no_number(points, self._refusals)
        points.rejected = self._refusals.rejected()
        return points

    def _read_other(self, place: int) -> int:
        """Read what is no series; the place behind it."""
        number, wire, start, stop = next(fields(self._data, place, len(self._data)))
        if number == _METADATA and wire == BYTES:
            self.understood = True
            self._read_metadata(start, stop)
        return stop

    def _count_one(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise BadBodyError(f"a request has at most {MOST_SERIES:,} series", 413)

    def _read_metadata(self, start: int, stop: int) -> None:
        self._count_one()
        kind, family = 0, b""
        for number, wire, first, last in fields(self._data, start, stop):
            if number == 1 and wire == VARINT:
                kind = first
            elif number == 2 and wire == BYTES:
                family = self._data[first:last]
        name = family.decode("utf-8", "replace")
        if kind in _GROWS and len(name) <= MAX_METRIC:
            self.only_grow[name] = _GROWS[kind]

    def _read_series(self, start: int, stop: int) -> None:
        """Raises WireError and BadBodyError."""
        self._count_one()
        labels: list[tuple[int, int]] = []
        samples: list[tuple[int, int]] = []
        histograms, labels_end, too_many = 0, start, False
        for number, wire, first, last in fields(self._data, start, stop):
            if wire != BYTES:
                continue
            if number == 1:
                too_many |= len(labels) == MOST_LABELS
                if not too_many:
                    labels.append((first, last))
                labels_end = last if not samples else -1
            elif number == 2:
                samples.append((first, last))
                if len(self._values) + len(samples) > MOST_SAMPLES:
                    raise BadBodyError(f"a request has at most {MOST_SAMPLES:,} samples", 413)
            elif number == 4:
                histograms += 1
        self.understood |= bool(labels or samples)
        key = self._data[start:labels_end] if labels_end > 0 else b""
        try:
            if too_many:
                raise LabelError(f"a series has at most {MOST_LABELS} labels")
            series = self._known.get(key) or self._series_of(labels, key)
        except LabelError as error:
            self._refusals.add(self._named(labels), str(error), max(1, len(samples) + histograms))
            return
        if histograms:
            self._refusals.add(f"{series.host}: {series.name.metric}", NATIVE, histograms)
        if samples:
            self._read_samples(series, samples)

    def _read_samples(self, series: PointSeries, samples: list[tuple[int, int]]) -> None:
        self._which += [len(self._series)] * len(samples)
        self._series.append(series)
        for start, stop in samples:
            value, at_ms = 0.0, 0
            for number, wire, first, _last in fields(self._data, start, stop):
                if number == 1 and wire == FIXED64:
                    (value,) = _FLOAT.unpack_from(self._data, first)
                elif number == 2 and wire == VARINT:
                    at_ms = signed(first)
            self._values.append(value)
            self._at_ms.append(at_ms)

    def _series_of(self, places: list[tuple[int, int]], key: bytes) -> PointSeries:
        """The series of the labels at `places`, remembered by `key` if there is one. Raises LabelError."""
        labels = unrepeated(self._pairs(places))
        metric = labels.pop("__name__", "")
        if not metric:
            raise LabelError("the series has no name: __name__")
        series = PointSeries(host_of(labels, self._host_label), series_of(metric, labels))
        if key:
            _remember(self._known, key, series)
        return series

    def _pairs(self, places: list[tuple[int, int]]) -> list[tuple[str, str]]:
        pairs = []
        for start, stop in places:
            name = text = b""
            for number, wire, first, last in fields(self._data, start, stop):
                if wire == BYTES and number == 1:
                    name = self._data[first:last]
                elif wire == BYTES and number == 2:
                    text = self._data[first:last]
            try:
                pairs.append((name.decode(), text.decode()))
            except UnicodeDecodeError:
                raise LabelError("a label is not UTF-8") from None
        return pairs

    def _named(self, places: list[tuple[int, int]]) -> str:
        """What to call a series whose labels cannot be taken: its bytes, as far as they can be read."""
        first, last = (places[0][0], places[min(len(places), 8) - 1][1]) if places else (0, 0)
        text = self._data[first : min(last, first + 200)].decode("utf-8", "replace")
        return "".join(letter if letter.isprintable() else " " for letter in text).strip() or "a series"


def _are_usual(tails: list[bytes]) -> bool:
    """Whether behind each value there is field 2 and an instant of just six bytes."""
    all_tails = np.frombuffer(b"".join(tails), np.uint8)
    if len(all_tails) != len(tails) * _TAIL.itemsize:
        return False  # the last one is cut off
    columns = all_tails.reshape(-1, _TAIL.itemsize)
    more = columns[:, 9:] >= 0x80
    return bool((columns[:, 8] == 0x10).all() and more[:, :5].all() and not more[:, 5].any())


def _remember(known: Known, key: bytes, series: PointSeries) -> None:
    global _known_bytes
    with _filling:
        if _known_bytes + len(key) > KNOWN_BYTES:
            for some in _known.values():
                some.clear()
            _known_bytes = 0
        if key not in known:
            known[key] = series
            _known_bytes += len(key)
