"""A Redis (or Valkey, or KeyDB): what INFO says, and how long a PING takes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop as _t

from monitoring.collectors.base import Collected, CollectError
from monitoring.collectors.counters import Counters
from monitoring.collectors.credentials import OWN, parts_of, refuse_password
from monitoring.collectors.measures import MB, Values, labelled, percent, tidy
from monitoring.collectors.options import Needs, option, read_options, secret_of
from monitoring.history.frame import SeriesName
from monitoring.models import Source
from portal.toolkit.printable import printable
from portal.toolkit.sentence import Term
from portal.toolkit.targets import (
    Deadline,
    FetchError,
    check_place,
    parse_target,
    permitted_addresses,
    resolve_name,
)
from portal.toolkit.wire import TimedStream, dial, dial_unix, in_words, tls_context, usual_tls

SCHEMES = ("redis", "rediss")
MAX_ANSWER = 1_000_000
MOST_REPLICAS = 20


def check_url(url: str) -> None:
    """Raise ValidationError, in words, when `url` is no redis:// or rediss:// that may be connected to, nor our own."""
    if url == OWN:
        return
    refuse_password(url)
    try:
        check_place(parts_of(url).bare, SCHEMES)
    except FetchError as error:
        raise ValidationError(str(error), code="url") from error


@dataclass(frozen=True, slots=True)
class Options:
    verify: bool = option(_("The certificate must be valid"), default=True, help=_("Of rediss://."))


NEEDS = Needs(
    check_url=check_url,
    says=_("redis://user@host:6379, or rediss:// for TLS. “own:” is the Redis of this portal."),
    secret=True,
    options=Options,
)


def collect(source: Source, now_ms: int) -> Collected:
    options, deadline = read_options(Options, source), Deadline(source.timeout_s)
    try:
        info, latency_ms = _own(deadline) if source.url == OWN else _named(source, options, deadline)
    except FetchError as error:
        raise CollectError.of(error) from error
    counters = Counters.recall(source, now_ms)
    values = values_of(info, counters)
    counters.keep()
    values[SeriesName("cache_latency")] = latency_ms
    complaint = _t("Its link to the primary is down.") if info.get("master_link_status") == "down" else ""
    return Collected(tidy(values), len(info), complaint)


# --- Asking -----------------------------------------------------------------------------------------------------------
def _named(source: Source, options: Options, deadline: Deadline) -> tuple[dict[str, str], float]:
    parts, password = parts_of(source.url), secret_of(source)
    target = parse_target(parts.bare, SCHEMES)
    addresses = permitted_addresses(target, resolve_name, deadline)
    with in_words(target.place, deadline):
        stream = dial(addresses, target.port, deadline)
        if target.scheme == "rediss":
            stream = stream.start_tls(usual_tls() if options.verify else tls_context(verify=False), target.host)
        return _asked(stream, target.place, parts.user_name, password)


def _own(deadline: Deadline) -> tuple[dict[str, str], float]:
    """The portal's own: where its settings say, on loopback or a unix socket if they say so."""
    url = urlsplit(settings.REDIS_URL)
    place = Term(_t("the portal's own Redis"))
    host, port = url.hostname or "localhost", url.port or 6379
    with in_words(place, deadline):
        if url.scheme == "unix":
            stream = dial_unix(unquote(url.path), deadline)
        else:
            stream = dial(resolve_name(host, deadline.left()), port, deadline)
        if url.scheme == "rediss":
            stream = stream.start_tls(usual_tls(), host)
        return _asked(stream, place, unquote(url.username or ""), unquote(url.password or ""))


def _asked(stream: TimedStream, place: str, user: str, password: str) -> tuple[dict[str, str], float]:
    """What INFO says, and how many milliseconds a PING took. Raises CollectError, FetchError and OSError."""
    with closing(stream):
        talk = _Talk(stream, place)
        if password:
            talk.say("AUTH", *([user] if user else []), password)
        began = time.monotonic()
        talk.say("PING")
        latency_ms = 1000 * (time.monotonic() - began)
        told = talk.say("INFO")
    lines = told.decode("utf-8", errors="replace").splitlines()
    info = dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))
    if "redis_version" not in info:
        raise CollectError(_t("%(place)s answers, but its INFO is not that of a Redis"), place=place)
    return info, latency_ms


class _Talk:
    """Commands and their replies, one after the other; at most MAX_ANSWER bytes come in all.

    Only the three kinds of reply that these commands have are read: a stranger's array would take memory by its length
    alone.
    """

    def __init__(self, stream: TimedStream, place: str) -> None:
        self._stream = stream
        self._place = place
        self._came = bytearray()
        self._all = 0

    def say(self, *words: str) -> bytes:
        """The reply to a command. Raises CollectError with Redis' own words when it refuses."""
        parts = [word.encode() for word in words]
        self._stream.write(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        kind, rest = (line := self._line())[:1], line[1:]
        if kind == b"-":
            said = rest.decode("utf-8", errors="replace")
            for word in words[1:]:  # an AUTH that it does not know is quoted back with its password
                said = said.replace(word, "…")
            refused = _t("%(place)s refuses %(command)s: %(error)s")
            raise CollectError(refused, place=self._place, command=words[0], error=printable(said))
        if kind == b"$" and rest.isdigit() and len(rest) < 10:
            return self._take(int(rest) + 2)[:-2]
        if kind != b"+":
            raise CollectError(_t("%(place)s does not speak Redis' protocol"), place=self._place)
        return rest

    def _line(self) -> bytes:
        while (end := self._came.find(b"\r\n")) < 0:
            self._more()
        return self._take(end + 2)[:-2]

    def _take(self, count: int) -> bytes:
        while len(self._came) < count:
            self._more()
        taken = bytes(self._came[:count])
        del self._came[:count]
        return taken

    def _more(self) -> None:
        piece = self._stream.read(65_536)
        self._came += piece
        self._all += len(piece)
        if not piece or self._all > MAX_ANSWER:
            raise CollectError(_t("%(place)s ended its answer in the middle, or never does"), place=self._place)


# --- Understanding ----------------------------------------------------------------------------------------------------
def values_of(info: Mapping[str, str], counters: Counters) -> Values:
    """The catalogue metrics that INFO tells of; rates are NaN at first."""
    used, most = _number(info, "used_memory"), _number(info, "maxmemory")
    hits = counters.increase("hits", _number(info, "keyspace_hits"))
    misses = counters.increase("misses", _number(info, "keyspace_misses"))
    values = {
        SeriesName("cache_hit"): percent(hits, hits + misses),
        SeriesName("cache_ops"): counters.rate("commands", _number(info, "total_commands_processed")),
        SeriesName("evictions"): counters.rate("evicted", _number(info, "evicted_keys")),
        SeriesName("cache_memory"): used / MB,
        SeriesName("cache_clients"): _number(info, "connected_clients"),
        SeriesName("cache_keys"): sum(_keys(info)),
        SeriesName("uptime"): _number(info, "uptime_in_seconds"),
    }
    if most > 0:
        values[SeriesName("cache_memory_share")] = percent(used, most)
    return values | _lags(info)


def _number(fields: Mapping[str, str], name: str) -> float:
    """NaN when it is not told, or is no number."""
    try:
        number = float(fields.get(name, "nan"))
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _keys(info: Mapping[str, str]) -> Iterator[float]:
    """How many keys each database has, of lines like `db0:keys=5,expires=0`."""
    for name, told in info.items():
        if name.startswith("db") and name[2:].isdecimal():
            keys = _number(_fields(told), "keys")
            yield 0.0 if math.isnan(keys) else keys


def _lags(info: Mapping[str, str]) -> Values:
    """On a replica since when it heard nothing of its primary; on a primary that of each replica, and the worst."""
    lag = SeriesName("replication_lag")
    if info.get("role") == "slave":
        heard = _number(info, "master_last_io_seconds_ago")
        return {lag: math.nan if heard < 0 else heard}
    replicas = [_fields(told) for name, told in info.items() if name.startswith("slave") and name[5:].isdecimal()]
    each = {
        labelled("replication_lag", replica=f"{told.get('ip', '')}:{told.get('port', '')}"): _number(told, "lag")
        for told in replicas[:MOST_REPLICAS]
    }
    known = [value for value in each.values() if not math.isnan(value)]
    return {**each, lag: max(known, default=math.nan)} if each else {}


def _fields(told: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in told.split(",") if "=" in part)
