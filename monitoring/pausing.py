"""Pausing and resuming what is watched. A paused server raises no alerts and says so at once."""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop as _

from monitoring import states
from monitoring.models import Server, ServerState
from portal.toolkit.audit import change_many

# Reasons are kept in English and translated where they are shown.
PAUSED = _("Paused from the list.")
RESUMED = _("Resumed from the list.")


def pause_servers(servers: Iterable[Server], by: AbstractUser) -> list[Server]:
    """Pause those that are not; returns them. Their state says paused from the commit on."""
    return _set_servers(servers, True, by)


def resume_servers(servers: Iterable[Server], by: AbstractUser) -> list[Server]:
    """Resume those that are paused; returns them. Their state is unknown until data comes."""
    return _set_servers(servers, False, by)


def _set_servers(servers: Iterable[Server], paused: bool, by: AbstractUser) -> list[Server]:
    changed = [server for server in servers if server.paused is not paused]
    with transaction.atomic():
        change_many(changed, {"paused": paused}, by=by, reason=PAUSED if paused else RESUMED)
        show_paused(changed)
    return changed


def show_paused(servers: Iterable[Server]) -> None:
    """Bring the state of `servers` in line with their `paused`; call it in the transaction that changed them."""
    paused = states.Change(ServerState.PAUSED, states.PAUSED)
    resumed = states.Change(ServerState.UNKNOWN, states.WAITING)
    states.set_states({server.pk: paused if server.paused else resumed for server in servers}, timezone.now())
