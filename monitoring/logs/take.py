"""From what the senders of lines say to lines that are kept: whose they are, from where, how bad."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from monitoring.ingest import hosts, tokens
from monitoring.ingest.door import Taken
from monitoring.ingest.log_labels import Said, fields_of
from monitoring.ingest.points import HostFacts, Rejected
from monitoring.ingest.refusals import Refusals
from monitoring.logs.levels import level_in
from monitoring.logs.line import Level, Line
from monitoring.logs.record import record
from monitoring.models import PushToken, ServerKind

MOST_SOURCES = 200
"""Of one server in an hour, as each is a row of every count; what goes beyond them is a field."""
SOURCES_FOR_S = 3600.0
SERVERS_KEPT = 50_000


class Entry(NamedTuple):
    """A line as it was sent. What it says itself of its level and fields comes before what is said of all."""

    at_ns: int
    text: str
    level: Level | None = None
    fields: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Stream:
    """Lines of one host and source."""

    said: Said
    entries: list[Entry] = field(default_factory=list)


class _Offered(NamedTuple):
    """The lines of a push that have a server, and of each the name of its host."""

    lines: list[Line]
    hosts: list[str]


def take(streams: Sequence[Stream], token: PushToken, *, origin: str, rejected: Sequence[Rejected] = ()) -> Taken:
    """Keep what `token` may send of these; the rest is refused line by line. `rejected` is what a decoder refused.

    Committed when it returns, and safe to repeat. Costs no query but `record`'s while the hosts are known. Raises
    OperationalError when PostgreSQL is away. Must not be called inside a transaction.
    """
    refusals = Refusals()
    offered = _offer(streams, _servers(streams, token), refusals)
    taken = Taken()
    if offered.lines:
        recorded = record(offered.lines, origin=origin)
        taken.kept = recorded.kept
        for refusal in recorded.refused:
            line = offered.lines[refusal.index]
            refusals.add(f"{offered.hosts[refusal.index]} at {line.at_ns / 1e9:.3f}", refusal.reason)
    taken.rejected = [*rejected, *refusals.rejected()]
    tokens.count(token.pk, 0, taken.refused, "", lines=taken.kept)
    return taken


def forget() -> None:
    """The sources that were seen."""
    with _filling:
        _sources.clear()


# --- Servers ----------------------------------------------------------------------------------------------------------
def _servers(streams: Sequence[Stream], token: PushToken) -> hosts.Known:
    """Of each host and service of the streams its server, or why there is none.

    Who names no host may mean the only server that the token is for; else the service is the server.
    """
    names = {stream.said.host for stream in streams}
    known = hosts.servers_of(token, names, {})
    if known.get("") == hosts.NO_HOST:
        services = {stream.said.service for stream in streams if not stream.said.host} - {""}
        facts = dict.fromkeys(services - names, HostFacts(ServerKind.SERVICE))
        known = hosts.servers_of(token, services, facts) | known
    return known


def _host(said: Said, known: hosts.Known) -> str:
    return said.host if said.host or known[""] != hosts.NO_HOST else said.service


# --- Lines ------------------------------------------------------------------------------------------------------------
def _offer(streams: Sequence[Stream], known: hosts.Known, refusals: Refusals) -> _Offered:
    offered = _Offered([], [])
    seen: dict[int, set[object]] = {}
    for stream in streams:
        if not stream.entries:
            continue
        host = _host(stream.said, known)
        server = known[host]
        if isinstance(server, str):
            refusals.add(host or "a stream without a host", server, len(stream.entries))
            continue
        offered.lines.extend(_lines(stream, server, seen.setdefault(id(stream.said), set())))
        offered.hosts.extend([host] * len(stream.entries))
    return offered


def _lines(stream: Stream, server_id: int, seen: set[object]) -> Iterator[Line]:
    """Lines of one push that are the same in all but where they stand in it come a nanosecond apart."""
    said, source, common = stream.said, *_source(server_id, stream.said)
    for at_ns, text, level, more in stream.entries:
        fields = fields_of({**common, **more}) if more else common
        key = (at_ns, text, *sorted(more.items())) if more else (at_ns, text)
        while key in seen:
            at_ns += 1
            key = (at_ns, *key[1:])
        seen.add(key)
        if level is None:
            level = said.level
        if level is None:
            level = level_in(text)
        yield Line(server_id, at_ns, Level.INFO if level is None else level, source, text, fields)


# --- Sources ----------------------------------------------------------------------------------------------------------
_sources: dict[int, tuple[float, set[str]]] = {}
"""By server: until when, and those that were seen."""
_filling = threading.Lock()


def _source(server_id: int, said: Said) -> tuple[str, Mapping[str, str]]:
    """The source, and the fields; a source too many is one of these."""
    if not said.source or _is_admitted(server_id, said.source):
        return said.source, said.fields
    return "", fields_of({"source": said.source, **said.fields})


def _is_admitted(server_id: int, source: str) -> bool:
    now = time.monotonic()
    with _filling:
        until, seen = _sources.get(server_id, (0.0, set()))
        if until <= now:
            if len(_sources) >= SERVERS_KEPT:
                _sources.clear()
            seen = set()
            _sources[server_id] = (now + SOURCES_FOR_S, seen)
        if source not in seen and len(seen) < MOST_SOURCES:
            seen.add(source)
        return source in seen
