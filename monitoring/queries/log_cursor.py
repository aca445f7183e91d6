"""How a page hears that lines arrived: a word that changes, pushed under the topic `logs`."""

from __future__ import annotations

from typing import NamedTuple

from django.template.loader import render_to_string

from monitoring.access import EVERYTHING, servers_of
from monitoring.logs.arrivals import arrived

TOPIC = "logs"
OF_SERVER = "server-"
"""Before the id of a server, whose panel watches its lines alone; other keys are audiences."""


class LogCursor(NamedTuple):
    topic: str
    arrived: str


def log_cursor(key: str) -> LogCursor:
    """Of everyone with this key. One query, and one look-up in Redis."""
    if key.startswith(OF_SERVER):
        server_id = key.removeprefix(OF_SERVER)
        return LogCursor(f"{TOPIC}:{server_id}", arrived([int(server_id)]))
    servers = None if key == EVERYTHING else servers_of(key).order_by().values_list("pk", flat=True)
    return LogCursor(TOPIC, arrived(servers))


def cursor_html(key: str) -> str:
    return render_to_string("monitoring/_log_cursor.html", {"log_cursor": log_cursor(key)})
