"""From the host names of what is pushed to servers: which ones a token may send for, and who joins."""

from __future__ import annotations

import threading
import time
import unicodedata
from collections.abc import Iterable, Mapping

from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_noop
from simple_history.utils import bulk_create_with_history

from monitoring.ingest.points import HostFacts
from monitoring.ingest.shelves import over_budget
from monitoring.models import PushToken, Series, Server
from portal.toolkit.printable import printable

KNOWN_FOR_S = 5.0
HOSTS_KEPT = 100_000
MAX_NAME = 200
JOINED = gettext_noop("Joined by sending.")

NOT_ALLOWED = "this token may not send for this host"
"""The same words whether the name is somebody else's or nobody's."""
NO_HOST = "no host is named, and the token is not for one server alone"
GONE = "the token is gone"

Known = dict[str, int | str]
"""By host: the server's id, or why nothing is taken for it."""

_known: dict[tuple[int, int, str], tuple[float, int | str]] = {}
"""By token, its group and host: until when, and what."""
_filling = threading.Lock()


def servers_of(token: PushToken, hosts: Iterable[str], facts: Mapping[str, HostFacts]) -> Known:
    """The server of each host; hosts that nobody knows join the token's group if it allows that.

    No query for hosts that were looked up in the last KNOWN_FOR_S seconds, else three.
    """
    now = time.monotonic()
    found: Known = {}
    unknown = []
    for host in hosts:
        until, known = _known.get((token.pk, token.group_id, host), (0.0, 0))
        if until > now:
            found[host] = known
        else:
            unknown.append(host)
    if unknown:
        looked_up = _look_up(token, unknown, facts)
        with _filling:
            if len(_known) > HOSTS_KEPT:
                _known.clear()
            until = now + KNOWN_FOR_S
            _known.update({(token.pk, token.group_id, host): (until, known) for host, known in looked_up.items()})
        found |= looked_up
    return found


def forget() -> None:
    """Servers may have changed in a way that must show at once."""
    with _filling:
        _known.clear()


def clean_name(host: str) -> str:
    """`host` as a server is called: one line, spaces put in order. Raises ValueError with the reason."""
    name = " ".join(word for word in unicodedata.normalize("NFC", host).strip().split(" ") if word)
    if not name:
        raise ValueError(NO_HOST)
    if len(name) > MAX_NAME:
        raise ValueError(f"a host's name has at most {MAX_NAME} characters")
    # Control characters, invisible ones, surrogates, and those that nobody has given a meaning.
    if any(unicodedata.category(letter)[0] == "C" or unicodedata.category(letter) in {"Zl", "Zp"} for letter in name):
        raise ValueError("a host's name is one line of visible characters")
    return name


def _look_up(token: PushToken, hosts: list[str], facts: Mapping[str, HostFacts]) -> Known:
    scope = dict(token.servers.values_list("pk", "name"))
    names: dict[str, str] = {}
    found: Known = {}
    for host in hosts:
        try:
            names[host] = next(iter(scope.values())) if not host and len(scope) == 1 else clean_name(host)
        except ValueError as error:
            found[host] = str(error)
    servers = _by_name(token, names.values(), scope)
    missing = {name: facts.get(host, HostFacts()) for host, name in names.items() if name not in servers}
    if missing and token.adds_servers and not scope:
        servers |= _join(token, missing)
    return found | {host: servers.get(name, NOT_ALLOWED) for host, name in names.items()}


def _by_name(token: PushToken, names: Iterable[str], scope: Mapping[int, str]) -> Known:
    """Those of the names that are servers: an id, or NOT_ALLOWED."""
    rows = Server.objects.filter(name__in=set(names)).order_by().values_list("name", "pk", "group_id")
    return {
        name: pk if group_id == token.group_id and (not scope or pk in scope) else NOT_ALLOWED
        for name, pk, group_id in rows
    }


def _join(token: PushToken, missing: Mapping[str, HostFacts]) -> Known:
    """New servers of the token's group, as many as its budget of series has room for. Each has a row of history."""
    try:
        return _make(token, missing)
    except IntegrityError:  # somebody took one of the names in this moment
        there = _by_name(token, missing, {})
        return there | _make(token, {name: facts for name, facts in missing.items() if name not in there})


@transaction.atomic(durable=True)
def _make(token: PushToken, missing: Mapping[str, HostFacts]) -> Known:
    locked = PushToken.objects.select_for_update(no_key=True).filter(pk=token.pk).first()
    if locked is None:
        return dict.fromkeys(missing, GONE)
    room = locked.series_budget - locked.series_count
    if room < len(missing):
        room = locked.series_budget - Series.objects.filter(pushed_by=locked).count()
    # Who sends lines only has no series: each such server takes the room of one, or names would have no end.
    room -= Server.objects.filter(~Exists(Series.objects.filter(server=OuterRef("pk"))), group=locked.group_id).count()
    names = sorted(missing)[: max(0, room)]
    servers = [
        Server(
            name=name,
            group_id=locked.group_id,
            kind=missing[name].kind,
            description=printable(missing[name].description, 300),
        )
        for name in names
    ]
    made = bulk_create_with_history(servers, Server, batch_size=1000, default_change_reason=JOINED)
    over = dict.fromkeys(missing.keys() - set(names), over_budget(locked.series_budget))
    return over | {server.name: server.pk for server in made}
