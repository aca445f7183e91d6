"""From the labels that a sender gives to the server and the series that they name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from monitoring.catalogue import BY_NAME
from monitoring.history.frame import SeriesName, canonical_labels
from monitoring.ingest.shelves import MAX_LABELS, MAX_METRIC

MOST_LABELS = 64
HOST_LABELS = ("host", "hostname", "nodename")
FOREIGN = "exported_"

_PORT = re.compile(r"(\[[^\[\]]*\]|[^:]*):\d{1,5}")


class LabelError(ValueError):
    """These labels name no series; the message says why."""


def series_of(metric: str, labels: Mapping[str, str]) -> SeriesName:
    """The series as it is kept. A name of the catalogue has the catalogue's meaning and unit: somebody else's gets a
    prefix. Raises LabelError."""
    if not 0 < len(metric) <= MAX_METRIC - len(FOREIGN):
        raise LabelError(f"a metric's name has 1 to {MAX_METRIC - len(FOREIGN)} characters")
    canonical = canonical_labels(labels)
    if len(canonical.encode()) > MAX_LABELS:
        raise LabelError(f"the labels of a series have at most {MAX_LABELS:,} bytes together")
    return SeriesName(FOREIGN + metric if metric in BY_NAME else metric, canonical)


def host_of(labels: Mapping[str, str], host_label: str) -> str:
    """The host that the labels name, without a port. Raises LabelError."""
    for label in (host_label, *HOST_LABELS):
        if host := labels.get(label):
            return without_port(host)
    raise LabelError(f"no label says the host: {host_label}, {', '.join(HOST_LABELS)}")


def without_port(address: str) -> str:
    match = _PORT.fullmatch(address)
    return (match[1] if match else address).strip("[]")


def unrepeated(pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Labels as a mapping; an empty value is the same as no label. Raises LabelError."""
    labels = dict(pairs)
    if len(labels) < len(pairs):
        raise LabelError("a label is given twice")
    if "" in labels:
        raise LabelError("a label has no name")
    return {name: text for name, text in labels.items() if text}
