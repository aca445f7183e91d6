"""An Ask, understood: which instants, which servers, which words, and the keys that sieves are asked for."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from monitoring.logs import retention
from monitoring.logs.ask import Ask
from monitoring.logs.candidates import Keys, Span, keys_fit
from monitoring.logs.line import Level, Position
from monitoring.logs.match import Matcher
from monitoring.logs.query import LevelTerm, NameTerm, Query, parse
from monitoring.logs.words import level_key, server_key, server_level_key, source_key
from monitoring.models import Server

MOST_KEYED, MOST_ALLOWED = 64, 8
"""Of more servers the blocks are looked at, since their keys would be in most of them; of those that were not asked
for, but are all that somebody may see, sooner: it may be all there are."""
FIRST_NS, LAST_NS = 0, 2**63 - 1
LAST_NUMBER = 2**63 - 1

Servers = frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """An Ask, understood. `servers` None: of all."""

    ask: Ask
    query: Query
    levels: frozenset[Level]
    servers: Servers
    floor_ns: int
    floors: dict[int, int]

    @classmethod
    def of(cls, ask: Ask, servers: Servers) -> Wanted:
        query = parse(ask.words)
        only = ask.servers or None
        of = servers if only is None else only if servers is None else only & servers
        floor_ns, floors = retention.floors(time.time_ns())
        said = [
            frozenset(term.level for term in group if isinstance(term, LevelTerm))
            for group in query.groups
            if all(isinstance(term, LevelTerm) for term in group)
        ]
        levels = frozenset(Level).intersection(ask.levels or Level, *said)
        return cls(ask, query, levels, of, floor_ns, floors)

    @property
    def may_fit(self) -> bool:
        return bool(self.levels) and self.servers != frozenset()

    def span(self, older_than: Position | None, newer_than: Position | None) -> Span | None:
        """The instants to look at; None: there are none."""
        starts = [self.floor_ns, self.ask.start_ns or FIRST_NS]
        ends = [LAST_NS if self.ask.end_ns is None else self.ask.end_ns - 1]
        if newer_than:
            starts.append(newer_than.at_ns + (newer_than.number == LAST_NUMBER))
        if older_than:
            ends.append(older_than.at_ns - (older_than.number == 0))
        span = Span(max(starts), min(ends))
        return span if span.start_ns <= span.end_ns else None

    def matcher(self, span: Span) -> Matcher:
        names = {
            term
            for group in (*self.query.groups, self.query.excluded)
            for term in group
            if isinstance(term, NameTerm) and term.of_server
        }
        return Matcher(
            self.query,
            span.start_ns,
            span.end_ns,
            self.servers,
            () if len(self.levels) == len(Level) else self.levels,
            self.ask.sources,
            self.floors,
            self._ids(names),
        )

    def _ids(self, names: set[NameTerm]) -> Mapping[NameTerm, Collection[int]]:
        """One query, when a server is named."""
        if not names:
            return {}
        known = list(Server.objects.values_list("pk", "name"))
        return {term: [pk for pk, name in known if term.fits(name)] for term in names}

    @property
    def keys(self) -> Keys:
        return keys_fit([*self._column_keys(), *([term.keys for term in group] for group in self.query.groups)])

    def _column_keys(self) -> Iterator[Sequence[tuple[int, ...]]]:
        levels = sorted(self.levels) if len(self.levels) < len(Level) else []
        most = MOST_KEYED if self.ask.servers else MOST_ALLOWED
        servers = sorted(self.servers) if self.servers is not None and len(self.servers) <= most else []
        if levels and servers and len(levels) * len(servers) <= MOST_KEYED:
            yield [(server_level_key(server_id, level),) for server_id, level in product(servers, levels)]
        else:
            yield from ([(key(value),) for value in some] for key, some in ((level_key, levels), (server_key, servers)))
        if len(self.ask.sources) <= MOST_KEYED:
            yield [(source_key(source),) for source in sorted(self.ask.sources)]
