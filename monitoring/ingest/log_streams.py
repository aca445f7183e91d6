"""The streams of a request on their way in, whatever form it has: lines by the labels that they share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from monitoring.ingest.log_labels import HOSTS, SOURCES, Said, own, said_by
from monitoring.ingest.points import BadBodyError
from monitoring.ingest.refusals import Refusals
from monitoring.logs.take import Entry, Stream

MOST_LINES = 100_000
REMEMBERED = 2_000
"""Characters of labels, at most."""
NO_INSTANT = "the instant is no number of nanoseconds since 1970"

_LATEST_NS = 1 << 63
_WHO = frozenset((*HOSTS, *SOURCES))


class Labelled(NamedTuple):
    labels: Mapping[str, str]
    said: Said


@lru_cache(maxsize=4096)
def _labelled(pairs: tuple[tuple[str, str], ...], host_label: str) -> Labelled:
    labels = dict(pairs)
    return Labelled(labels, said_by(labels, host_label))


class Streams:
    """Collects them, at most MOST_LINES lines; `count` is how many came, a stream without any is one too."""

    def __init__(self, host_label: str) -> None:
        self.host_label = host_label
        self.made: list[Stream] = []
        self.refusals = Refusals()
        self.count = 0

    def reserve(self, lines: int) -> None:
        """Raises BadBodyError when there is no room for so many more."""
        self.count += max(1, lines)
        if self.count > MOST_LINES:
            raise BadBodyError(f"a request has at most {MOST_LINES:,} lines", 413)

    def labelled(self, labels: Mapping[str, str]) -> Labelled:
        """What they say; remembered, as they are the same in every request."""
        pairs = tuple(labels.items())
        look_up = _labelled if sum(map(len, labels.values())) < REMEMBERED else _labelled.__wrapped__
        return look_up(pairs, self.host_label)

    def start(self, said: Said) -> Stream:
        stream = Stream(said)
        self.made.append(stream)
        return stream

    def add(self, stream: Stream, labelled: Labelled, at_ns: int, text: str, more: Mapping[str, str]) -> None:
        """A line with fields of its own, which may also say the host, the source and the level."""
        if not 0 <= at_ns < _LATEST_NS:
            self.refusals.add(f"{stream.said.host}: {at_ns}"[:200], NO_INSTANT)
        elif not more:
            stream.entries.append(Entry(at_ns, text))
        elif (stream.said.host and stream.said.source) or (_WHO.isdisjoint(more) and self.host_label not in more):
            stream.entries.append(Entry(at_ns, text, *own(more)))
        else:
            said = said_by({**more, **labelled.labels}, self.host_label)
            self.start(said).entries.append(Entry(at_ns, text, own(more)[0]))
