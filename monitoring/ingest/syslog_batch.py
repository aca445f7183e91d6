"""From messages of syslog to lines that are kept: each network's by the rights of its push token."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from monitoring.ingest import syslog, tokens
from monitoring.ingest.answers import facts_of
from monitoring.ingest.door import Taken
from monitoring.ingest.log_labels import Said, fields_of
from monitoring.ingest.syslog_senders import Senders
from monitoring.logs.line import MAX_SOURCE
from monitoring.logs.take import Entry, Stream, take
from portal.toolkit.printable import printable

ORIGIN = "syslog"
SAID_AT = "said_at"
"""A field with the time that a message says, where that cannot be."""


class Message(NamedTuple):
    """As it came, for the push token of that name."""

    token: str
    peer: str
    raw: bytes
    at: datetime


Batch = dict[str, list[Stream]]
"""By the name of the token."""


class Outcome(NamedTuple):
    """Of the lines of one token; `why` says in words why some were refused."""

    kept: int
    refused: int
    why: str


class Keeper:
    def __init__(self, senders: Senders, zone: tzinfo) -> None:
        self._senders = senders
        self._clocks = syslog.Clocks(zone)

    def read(self, messages: Sequence[Message]) -> Batch:
        """To be called once for each message: of coarse clocks it counts."""
        by_said: dict[tuple[object, ...], Stream] = {}
        batch: Batch = {}
        for message in messages:
            text = message.raw.decode("utf-8", "replace").rstrip("\r\n\0")
            if not text.strip():
                continue
            said = syslog.parse(text, message.at)
            host = said.host or message.peer
            at_ns, is_said = self._clocks.instant_ns(f"{message.peer} {host}", said, message.at)
            fields = dict(said.fields)
            if not is_said and said.at:
                fields[SAID_AT] = said.at.isoformat()
            key = (message.token, host, said.source, *fields.items())
            if key not in by_said:
                source = printable(said.source, MAX_SOURCE)
                by_said[key] = Stream(Said(host, "", source, None, fields_of(fields)))
                batch.setdefault(message.token, []).append(by_said[key])
            by_said[key].entries.append(Entry(at_ns, said.text, said.level))
        return batch

    def keep(self, batch: Batch) -> list[Outcome]:
        """Each token's lines leave the batch as they are kept: what is left after an OperationalError may be kept
        again, and what was kept before it counts once."""
        outcomes = []
        for name in list(batch):
            token, reason = self._senders.token(name)
            if token is None:
                refused = sum(len(stream.entries) for stream in batch[name])
                outcomes.append(Outcome(0, refused, f"{name}: {reason}"))
            else:
                outcomes.append(_outcome(take(batch[name], token, origin=ORIGIN)))
            del batch[name]
        return outcomes

    def count_dropped(self, name: str, dropped: int) -> None:
        """Datagrams that there was no room for count as refused. Raises OperationalError."""
        token, _reason = self._senders.token(name)
        if token is not None:
            tokens.count(token.pk, 0, dropped, "")


def _outcome(taken: Taken) -> Outcome:
    first = facts_of(taken)["refused"][:1]
    return Outcome(taken.kept, taken.refused, f"{first[0]['where']}: {first[0]['reason']}" if first else "")
