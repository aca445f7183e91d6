"""Push tokens: made, looked up, rotated, and how they are used."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import DatabaseError, connection, connections
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_noop

from monitoring.models import PushToken, ServerGroup
from portal.toolkit.intake import ForbiddenError
from portal.toolkit.tokens import digest_of, hint_of, new_text

log = structlog.get_logger(__name__)

PREFIX = "omp_"
DEMO = "demo"
FORMER_FOR = timedelta(hours=24)
FLUSH_EVERY_S = 3.0
ROTATED = gettext_noop("Rotated.")
LAST_SERVER_GONE = gettext_noop("Switched off: the last of its servers is deleted.")


def dress(token: PushToken, text: str) -> None:
    """Make `text` the token's; not saved."""
    token.digest, token.hint = digest_of(text), hint_of(text)


def ensure_demo_token(text: str, group: ServerGroup) -> None:
    """The token that `manage.py up` tells in demo.json, made when missing.

    One that somebody rotated, renamed, switched off or moved to another group stays as it is.
    """
    if not PushToken.objects.filter(Q(name=DEMO) | Q(digest=digest_of(text))).exists():
        token = PushToken(name=DEMO, group=group)
        dress(token, text)
        token.save()


def rotate(token: PushToken, now: datetime) -> str:
    """The token's new text, which is kept nowhere. The former one is taken for another FORMER_FOR."""
    text = new_text(PREFIX)
    token.former_digest, token.former_until = token.digest, now + FORMER_FOR
    dress(token, text)
    token._change_reason = ROTATED  # type: ignore[attr-defined]  # (simple_history reads it)
    token.save(update_fields=["digest", "hint", "former_digest", "former_until"])
    return text


def leave_server(server_id: int) -> None:
    """The server is being deleted. A token that was for it alone is switched off: with no servers it is for all.

    One query, more for tokens that name the server. Of several that are deleted at once each is left in turn.
    """
    for token in PushToken.objects.filter(servers=server_id).select_for_update(of=("self",), no_key=True):
        if not token.servers.exclude(pk=server_id).exists():
            token.enabled = False
            token._change_reason = LAST_SERVER_GONE  # type: ignore[attr-defined]  # (simple_history reads it)
            token.save(update_fields=["enabled"])
        token.servers.through.objects.filter(pushtoken_id=token.pk, server_id=server_id).delete()


def look_up(text: str) -> PushToken | None:
    """Whose text that is, None when nobody's (any more). Raises ForbiddenError for one that is switched off or over.

    One query.
    """
    now, digest = timezone.now(), digest_of(text)
    former = Q(former_digest=digest, former_until__gt=now)
    token = PushToken.objects.filter(Q(digest=digest) | former).first()
    return _usable(token, now)


def called(name: str) -> PushToken | None:
    """The token of that name, for senders that have none to show; None when there is none.

    Raises ForbiddenError for one that is switched off or over. One query.
    """
    return _usable(PushToken.objects.filter(name=name).first(), timezone.now())


def _usable(token: PushToken | None, now: datetime) -> PushToken | None:
    if token is not None and not token.enabled:
        raise ForbiddenError("this token is switched off")
    if token is not None and token.expires_at is not None and token.expires_at <= now:
        raise ForbiddenError(f"this token expired on {token.expires_at:%Y-%m-%d}")
    return token


# --- Use --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Use:
    """What is not written down yet."""

    used_at: datetime
    client: str = ""
    samples: int = 0
    lines: int = 0
    refused: int = 0
    over_budget: str = ""


_uses: dict[int, _Use] = {}
_counting = threading.Lock()
_timer: threading.Timer | None = None


def seen(token_id: int, client: str) -> None:
    """Somebody at the address `client` has used the token."""
    _note(token_id, lambda use: setattr(use, "client", client))


def count(token_id: int, samples: int, refused: int, over_budget: str, *, lines: int = 0) -> None:
    """What came of a push; `over_budget` names a series that the budget had no room for."""

    def add(use: _Use) -> None:
        use.samples += samples
        use.lines += lines
        use.refused += refused
        use.over_budget = over_budget or use.over_budget

    _note(token_id, add)


def flush() -> None:
    """Write down what was counted since the last time; one query a token. What PostgreSQL does not take is lost."""
    global _timer
    with _counting:
        uses, _timer = dict(_uses), None
        _uses.clear()
    for token_id, use in sorted(uses.items()):
        try:
            _write(token_id, use)
        except DatabaseError as error:
            log.warning("token_use_not_kept", token=token_id, error=str(error))


def _note(token_id: int, change: Callable[[_Use], None]) -> None:
    global _timer
    with _counting:
        use = _uses.setdefault(token_id, _Use(timezone.now()))
        use.used_at = timezone.now()
        change(use)
        if _timer is None:
            _timer = threading.Timer(FLUSH_EVERY_S, _flush_in_thread)
            _timer.daemon = True
            _timer.start()


def _flush_in_thread() -> None:
    try:
        flush()
    finally:
        connections.close_all()


def _write(token_id: int, use: _Use) -> None:
    minute = use.used_at.replace(second=0, microsecond=0)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE monitoring_pushtoken SET
                used_at = greatest(used_at, %(at)s), used_from = %(client)s,
                samples = samples + %(samples)s, lines = lines + %(lines)s, refused = refused + %(refused)s,
                last_minute_samples = CASE minute WHEN %(minute)s THEN last_minute_samples
                    WHEN %(minute)s - interval '1 minute' THEN minute_samples ELSE 0 END,
                minute_samples = CASE minute WHEN %(minute)s THEN minute_samples ELSE 0 END + %(samples)s,
                minute = %(minute)s,
                series_refused_at = CASE %(over)s WHEN '' THEN series_refused_at ELSE %(at)s END,
                series_refused = CASE %(over)s WHEN '' THEN series_refused ELSE %(over)s END
            WHERE id = %(id)s
            """,
            {
                "id": token_id,
                "at": use.used_at,
                "client": use.client,
                "samples": use.samples,
                "lines": use.lines,
                "refused": use.refused,
                "minute": minute,
                "over": use.over_budget[:300],
            },
        )


def samples_a_minute(token: PushToken, now: datetime) -> int:
    """Of the last whole minute; 0 when nothing came in it."""
    minute = now.replace(second=0, microsecond=0)
    if token.minute == minute:
        return token.last_minute_samples
    return token.minute_samples if token.minute == minute - timedelta(minutes=1) else 0
