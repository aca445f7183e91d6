"""Servers that a source lists: made when first listed, marked when they are not any more, forgotten at last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from django.db.models import F, Q, Window
from django.db.models.functions import RowNumber
from django.utils.translation import gettext_noop as _

from monitoring.collectors.base import Found
from monitoring.history.frame import Frame, Layout
from monitoring.models import Server, ServerState, Source
from portal.toolkit.printable import printable
from portal.toolkit.sentence import counted, paragraph, sentence

MOST = 1000
"""Servers that one source may have listed at a time, and as many that are gone."""
FORGOTTEN_AFTER = timedelta(days=7)
FORGOTTEN_AT_ONCE = 500

_MAX_NAME = 200
_MAX_DESCRIPTION = 300


@dataclass(slots=True)
class Roster:
    """What became of a listing: the server of each name that is kept, and in stored sentences what is not."""

    servers: dict[str, Server] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    @property
    def complaint(self) -> str:
        return paragraph(self.refused)


def enrol(source: Source, listed: Iterable[Found], now: datetime) -> Roster:
    """Bring the servers found by `source` in line with what it lists now; may run any number of times.

    They are called "<the source's server>/<name>" and are of its group, also after it was renamed or moved. One query
    when nothing changed, one more for each kind of change, however many servers; four for new ones.
    """
    rows = list(Server.objects.filter(Q(pk=source.server_id) | Q(found_by=source)))
    home = next((server for server in rows if server.pk == source.server_id), None)
    if home is None:  # deleted meanwhile
        return Roster()
    roster = Roster()
    wanted = _by_name(listed, home, roster)
    known = {server.name: server for server in rows if server is not home}
    _follow(home, known, wanted)
    servers = {name: known[name] for name in wanted if name in known}
    servers |= _new(source, home, [wanted[name] for name in wanted if name not in known], len(servers), roster)
    _mark(known, servers, now)
    _describe({name: server for name, server in servers.items() if name in known}, wanted)
    roster.servers = {wanted[name].name: server for name, server in servers.items()}
    return roster


def frames_of(roster: Roster, listed: Iterable[Found], at_ms: int) -> list[Frame]:
    """The values of what is listed and kept, without the servers that somebody has paused."""
    shared: dict[Layout, Layout] = {}
    frames = []
    for found in listed:
        server = roster.servers.get(found.name)
        if server is None or server.paused or not found.values:
            continue
        layout = tuple(found.values)
        layout = shared.setdefault(layout, layout)
        numbers = np.fromiter(found.values.values(), np.float64, len(layout))
        frames.append(Frame(server.pk, at_ms, layout, numbers))
    return frames


# --- One listing ------------------------------------------------------------------------------------------------------
def _full_name(home: Server, name: str) -> str:
    return f"{home.name}/{name}"


def _by_name(listed: Iterable[Found], home: Server, roster: Roster) -> dict[str, Found]:
    """What is listed by the name of its server; of two of one name the first."""
    wanted: dict[str, Found] = {}
    unusable = []
    for found in listed:
        name = _full_name(home, found.name)
        if not found.name.isprintable() or not found.name.strip() or len(name) > _MAX_NAME or name in wanted:
            unusable.append(found.name)
        else:
            wanted[name] = found
    if unusable:
        roster.refused.append(
            counted(
                "%(count)d name cannot be a server's: %(names)s.",
                "%(count)d names cannot be a server's: %(names)s.",
                len(unusable),
                names=_some(unusable),
            )
        )
    return wanted


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"“{printable(name, 60)}”" for name in names[:3])
    return f"{shown}, …" if len(names) > 3 else shown


def _follow(home: Server, known: dict[str, Server], wanted: Mapping[str, Found]) -> None:
    """What was found goes with the source's server: into another group, and under another name."""
    moved = [server for server in known.values() if server.group_id != home.group_id]
    if moved:
        Server.objects.filter(pk__in=[server.pk for server in moved]).update(group=home.group_id)
    renamed = []
    for name, server in list(known.items()):
        current = _current_name(home, name, wanted)
        if current != name and current not in known:
            known[current] = known.pop(name)
            server.name = current
            renamed.append(server)
    if renamed:
        taken = set(Server.objects.filter(name__in=[server.name for server in renamed]).values_list("name", flat=True))
        Server.objects.bulk_update([server for server in renamed if server.name not in taken], ["name"])


def _current_name(home: Server, name: str, wanted: Mapping[str, Found]) -> str:
    """The wanted name that a server called `name` has under the source's server of another name; else `name`."""
    if name.startswith(_full_name(home, "")):
        return name
    parts = name.split("/")
    names = (_full_name(home, "/".join(parts[start:])) for start in range(1, len(parts)))
    return next((each for each in names if each in wanted), name)


def _new(source: Source, home: Server, new: Sequence[Found], there: int, roster: Roster) -> dict[str, Server]:
    """Make servers of what is listed for the first time, as far as there is room and their names are free."""
    room = max(0, MOST - there)
    if len(new) > room:
        words = _("%(count)s more are listed than the %(most)s that one source may bring.")
        roster.refused.append(sentence(words, count=str(len(new) - room), most=str(MOST)))
    names = {_full_name(home, found.name): found for found in new[:room]}
    if not names:
        return {}
    foreign = _take_over(source, home, names, roster)
    # Another run of the same source may be making them too.
    Server.objects.bulk_create(
        (
            Server(name=name, kind=found.kind, group_id=home.group_id, description=_description(found), found_by=source)
            for name, found in names.items()
            if name not in foreign
        ),
        ignore_conflicts=True,
        batch_size=MOST,
    )
    return {server.name: server for server in Server.objects.filter(found_by=source, name__in=names)}


def _take_over(source: Source, home: Server, names: Mapping[str, Found], roster: Roster) -> set[str]:
    """Make those that a deleted source has left `source`'s; the names that belong to others."""
    existing = list(Server.objects.filter(name__in=names).exclude(found_by=source))
    left_over = {server.name: server.pk for server in existing if _is_left_over(server, home)}
    if left_over:
        Server.objects.filter(pk__in=left_over.values()).update(found_by=source, gone_at=None)
    foreign = {server.name for server in existing} - left_over.keys()
    if foreign:
        roster.refused.append(
            counted(
                "%(count)d name is another server's: %(names)s.",
                "%(count)d names are other servers': %(names)s.",
                len(foreign),
                names=_some(sorted(foreign)),
            )
        )
    return foreign


def _is_left_over(server: Server, home: Server) -> bool:
    """Found once by a source that was deleted since."""
    return server.found_by_id is None and server.gone_at is not None and server.group_id == home.group_id


def _mark(known: Mapping[str, Server], servers: Mapping[str, Server], now: datetime) -> None:
    gone = [server.pk for name, server in known.items() if name not in servers and server.gone_at is None]
    if gone:
        Server.objects.filter(pk__in=gone).update(gone_at=now)
    back = [server.pk for name, server in known.items() if name in servers and server.gone_at is not None]
    if back:
        Server.objects.filter(pk__in=back).update(gone_at=None)


def _describe(servers: Mapping[str, Server], wanted: Mapping[str, Found]) -> None:
    """A container's image and a pod's owner may change under the same name."""
    changed = []
    for name, server in servers.items():
        described = _description(wanted[name])
        if described and described != server.description:
            server.description = described
            changed.append(server)
    if changed:
        Server.objects.bulk_update(changed, ["description"])


def _description(found: Found) -> str:
    return printable(found.description, _MAX_DESCRIPTION)


# --- Those that are gone ----------------------------------------------------------------------------------------------
def leave(source: Source, now: datetime) -> None:
    """`source` is being deleted: what it has found is found no more."""
    Server.objects.filter(found_by=source, gone_at=None).update(gone_at=now)


def forget_gone(now: datetime) -> int:
    """Delete servers gone for longer than FORGOTTEN_AFTER, and of each source all but the MOST that left last.

    How many. Only those that show as paused: alerts has then ended what it had open about them, and nobody opens
    anything new; incidents keep the name and stay. What has a source or a job of its own stays too. May run at any
    time, any number of times.
    """
    gone = Server.objects.order_by().filter(gone_at__isnull=False, state=ServerState.PAUSED, sources=None, jobs=None)
    old = gone.filter(gone_at__lt=now - FORGOTTEN_AFTER).values_list("pk", flat=True)
    ranked = gone.annotate(rank=Window(RowNumber(), partition_by=F("found_by"), order_by=F("gone_at").desc()))
    surplus = ranked.filter(rank__gt=MOST).values_list("pk", flat=True)
    ids = sorted({*old, *surplus})
    portions = (ids[start : start + FORGOTTEN_AT_ONCE] for start in range(0, len(ids), FORGOTTEN_AT_ONCE))
    # Asked again: one may have come back since.
    return sum(gone.filter(pk__in=portion).delete()[1].get("monitoring.Server", 0) for portion in portions)
