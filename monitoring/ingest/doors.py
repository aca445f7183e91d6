"""Every way in, for the ASGI guard. A protocol is a module with `accept(push, token)`, and a line here."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

from monitoring.ingest import agent, heartbeat, loki, otlp, otlp_logs, remote_write, tokens
from monitoring.ingest.answers import guarded
from monitoring.models import PushToken
from portal.toolkit.intake import Answer, Application, Door, Intake, Push


def _door(path: str, accept: Callable[[Push, PushToken], Answer], most: int, unpacked: int) -> Door:
    """Of a protocol that others have made. Its senders send again after 503, and after 408 never."""
    return Door(path, ("POST",), guarded(accept), most, unpacked, too_slow=503)


DOORS = [
    Door("/api/push", ("POST",), guarded(agent.accept), agent.MAX_BYTES, agent.MAX_BYTES),
    _door("/api/v1/write", remote_write.accept, remote_write.MAX_BYTES, remote_write.MAX_UNPACKED),
    _door("/v1/metrics", otlp.accept, otlp.MAX_BYTES, otlp.MAX_BYTES),
    _door("/loki/api/v1/push", loki.accept, loki.MAX_BYTES, loki.MAX_UNPACKED),
    _door("/v1/logs", otlp_logs.accept, otlp_logs.MAX_BYTES, otlp_logs.MAX_BYTES),
    Door("/ready", ("GET", "HEAD"), loki.ready, 0, 0, needs_token=False),
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
