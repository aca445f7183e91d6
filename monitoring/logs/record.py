"""The one door for lines of logs."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import structlog
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils.translation import gettext_noop as _
from numpy.typing import NDArray

from monitoring.history.codec import Ints
from monitoring.history.frame import FUTURE_MS
from monitoring.history.record import NO_SERVER
from monitoring.logs import arrivals
from monitoring.logs.codec import Block, Packed, pack_block
from monitoring.logs.columns import Columns, coded
from monitoring.logs.line import (
    MAX_FIELD_NAME,
    MAX_FIELD_VALUE,
    MAX_FIELDS,
    MAX_SOURCE,
    MAX_TEXT,
    Line,
    Recorded,
    Refusal,
)
from monitoring.logs.retention import DAY_NS, rules
from monitoring.logs.tables import day_of
from monitoring.models import Server
from portal.toolkit.copying import copy_rows

log = structlog.get_logger(__name__)

FUTURE_NS = FUTURE_MS * 1_000_000
IN_THE_FUTURE = _("more than 5 minutes in the future")
LAST_NS = 2**63 - 1

# A push that is repeated meets the digests of what it brought, and brings nothing.
_NEW = "INSERT INTO monitoring_logpush (digest) VALUES (%s) ON CONFLICT DO NOTHING"
_ROW = ("tier", "origin", "day", "first_ns", "last_ns", "count", "levels", "servers", "head", "body")
_ROW_TYPES = ("int2", "text", "date", "int8", "int8", "int4", "int2", "int8[]", "bytea", "bytea")


def record(lines: Sequence[Line], *, origin: str) -> Recorded:
    """Keep `lines`, then tell everyone. `origin` names the way in, for people: "loki", "otlp", "syslog", "simulation".

    Committed when it returns: a caller may answer 2xx. Safe to repeat: lines that are already kept are kept, shown and
    counted once. Lines of unknown servers, older than their group keeps, or more than 5 minutes in the future are
    refused one by one, with the reason; the rest is kept. Texts beyond MAX_TEXT are cut, which their lines say; lone
    surrogates become U+FFFD; fields beyond the limits are left out, and long names and values shortened.
    A query, a statement for each day that the lines are of, a COPY, and a Redis round trip; a query more when some are
    older than a day.
    Raises django.db.OperationalError when PostgreSQL does not commit; then nothing was kept. Redis being away is no
    error. Must not be called inside a transaction: its commit is the promise.
    """
    result = Recorded()
    if not lines:
        return result
    instants = np.fromiter((min(max(line.at_ns, 0), LAST_NS) for line in lines), np.int64, len(lines))
    owners = np.fromiter((line.server_id for line in lines), np.int64, len(lines))
    timely = _admitted(owners, instants, result)
    order = timely[np.argsort(instants[timely], kind="stable")]
    if not len(order):
        return result
    columns = _columns([lines[index] for index in order], instants[order], owners[order])
    result.kept = columns.count
    result.cut = int(np.count_nonzero(columns.cuts))
    _commit([columns.block(part) for part in _days(columns.at_ns)], origin)
    arrivals.tell(np.unique(owners[order]).tolist(), f"{time.time_ns():x}{secrets.token_hex(4)}")
    return result


def _admitted(owners: Ints, at_ns: Ints, result: Recorded) -> NDArray[np.intp]:
    """Which lines may be kept; the others go to `result.refused`."""
    now_ns = time.time_ns()
    distinct, which = np.unique(owners, return_inverse=True)
    groups = dict(Server.objects.filter(pk__in=distinct.tolist()).values_list("pk", "group_id"))
    # Rules begin at one day: what is younger is kept, whatever they are.
    said = rules() if at_ns.min() < now_ns - DAY_NS else None
    days = [said.of(groups[pk]) if said and pk in groups else 1 for pk in distinct.tolist()]
    is_known = np.array([pk in groups for pk in distinct.tolist()])[which]
    floors = now_ns - np.array(days, np.int64)[which] * DAY_NS
    is_future = at_ns > now_ns + FUTURE_NS
    is_old = at_ns < floors
    for index in np.flatnonzero(~is_known | is_future | is_old).tolist():
        if not is_known[index]:
            reason = NO_SERVER
        else:
            reason = IN_THE_FUTURE if is_future[index] else f"older than the retention of {days[which[index]]} days"
        result.refused.append(Refusal(index, reason))
    return np.flatnonzero(is_known & ~is_future & ~is_old)


def _columns(lines: Sequence[Line], at_ns: Ints, owners: Ints) -> Columns:
    _, _, levels, sources, texts, fields = zip(*lines, strict=True)
    raws, cuts = _encoded(texts)
    docs, field_of = coded([b"", *_docs(fields)])
    is_new = np.ones(len(lines), np.bool_)
    levels_of = np.array(levels, np.uint8)
    return Columns(at_ns, levels_of, owners, *coded(_sources(sources)), docs, field_of[1:], cuts, raws, is_new)


def _encoded(texts: Sequence[str]) -> tuple[list[bytes], Ints]:
    """The texts as UTF-8, cut at MAX_TEXT, and how many bytes were cut of each."""
    raws = [_utf8(text) for text in texts]
    cuts = np.zeros(len(raws), np.int64)
    for index, raw in enumerate(raws):
        if len(raw) > MAX_TEXT:
            # Not inside a character: what is left of one is no UTF-8.
            raws[index] = raw[:MAX_TEXT].decode("utf-8", "ignore").encode()
            cuts[index] = len(raw) - len(raws[index])
    return raws, cuts


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _sources(sources: Sequence[str]) -> list[str]:
    clean = {source: _utf8(source).decode()[:MAX_SOURCE] for source in dict.fromkeys(sources)}
    return [clean[source] for source in sources]


def _docs(fields: Sequence[Mapping[str, str]]) -> list[bytes]:
    """The fields of each line as JSON. Lines of one stream share one mapping: it is written once."""
    known: dict[int, bytes] = {}
    for some in fields:
        if id(some) not in known:
            known[id(some)] = _doc(some) if some else b""
    return [known[id(some)] for some in fields]


def _doc(fields: Mapping[str, str]) -> bytes:
    try:
        doc = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # lone surrogates, or a mapping of another kind
        return _bounded(fields)
    is_short = len(doc) <= MAX_FIELD_VALUE and len(fields) <= MAX_FIELDS
    return doc if is_short and max(map(len, fields)) <= MAX_FIELD_NAME else _bounded(fields)


def _bounded(fields: Mapping[str, str]) -> bytes:
    kept = {
        _utf8(name).decode()[:MAX_FIELD_NAME]: _utf8(value).decode()[:MAX_FIELD_VALUE]
        for name, value in list(fields.items())[:MAX_FIELDS]
    }
    return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)


def _days(at_ns: Ints) -> Iterator[slice]:
    """The parts of ascending instants that are of one day."""
    edges = np.flatnonzero(np.diff(at_ns // DAY_NS)) + 1
    for start, end in zip([0, *edges.tolist()], [*edges.tolist(), len(at_ns)], strict=True):
        yield slice(start, end)


def _commit(blocks: Sequence[Block], origin: str) -> None:
    packed = [(block, pack_block(block)) for block in blocks]
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        rows = [_row(block, parts, origin) for block, parts in packed if _is_new(cursor, parts)]
        if rows:
            copy_rows("monitoring_logblock_pushed", _ROW, _ROW_TYPES, rows)


def _is_new(cursor: CursorWrapper, parts: Packed) -> bool:
    """Whether nobody has recorded the same lately. Waits for whoever is recording it just now."""
    digest = hashlib.blake2b(parts.head, digest_size=16)
    digest.update(parts.body)
    cursor.execute(_NEW, [digest.digest()])
    return bool(cursor.rowcount)


def _row(block: Block, parts: Packed, origin: str) -> tuple[Any, ...]:
    first_ns, last_ns = int(block.at_ns[0]), int(block.at_ns[-1])
    facts = (day_of(first_ns), first_ns, last_ns, block.count, block.level_mask, block.owners)
    return (0, origin, *facts, *parts)
