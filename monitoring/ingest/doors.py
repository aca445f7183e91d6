"""Every way in, for the ASGI guard. A protocol is a module with `accept(push, token)`, and a line here."""

from __future__ import annotations

from django.conf import settings

from monitoring.ingest import agent, heartbeat, otlp, remote_write, tokens
from monitoring.ingest.answers import guarded
from portal.toolkit.intake import Application, Door, Intake

DOORS = [
    Door("/api/push", ("POST",), guarded(agent.accept), agent.MAX_BYTES, agent.MAX_BYTES),
    Door("/api/v1/write", ("POST",), guarded(remote_write.accept), remote_write.MAX_BYTES, remote_write.MAX_UNPACKED),
    Door("/v1/metrics", ("POST",), guarded(otlp.accept), otlp.MAX_BYTES, otlp.MAX_BYTES),
    Door(
        heartbeat.PATH,
        ("GET", "HEAD", "POST"),
        heartbeat.accept,
        heartbeat.MAX_BYTES,
        heartbeat.MAX_BYTES,
        needs_token=False,
    ),
]


def intake(otherwise: Application | None = None) -> Intake:
    """The ASGI application of all doors; other paths go to `otherwise`."""
    return Intake(DOORS, tokens.look_up, otherwise, behind_proxy=settings.BEHIND_PROXY)
