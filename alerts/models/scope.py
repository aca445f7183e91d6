"""Whom something is for: what thresholds and silences have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import CheckConstraint, Q, TextChoices
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from alerts.models.silence import Silence
    from alerts.models.threshold import Threshold


class Scope(TextChoices):
    """Widest first: of thresholds the narrowest one wins for each series and direction."""

    ALL = "all", _("All servers")
    KIND = "kind", _("A kind of server")
    GROUP = "group", _("A group")
    SERVER = "server", _("One server")


def target_fits_scope(name: str) -> CheckConstraint:
    """A scope has its own target and no other, in the columns scope, kind, group and server."""
    return CheckConstraint(
        condition=Q(scope="all", kind="", group=None, server=None)
        | (Q(scope="kind", group=None, server=None) & ~Q(kind=""))
        | Q(scope="group", kind="", group__isnull=False, server=None)
        | Q(scope="server", kind="", group=None, server__isnull=False),
        name=name,
    )


def target_of(scoped: Threshold | Silence) -> str:
    """Whom it is for, in words."""
    if scoped.scope == Scope.KIND:
        return str(scoped.get_kind_display())
    try:
        return str(scoped.group or scoped.server or scoped.get_scope_display())
    except ObjectDoesNotExist:  # a row of history outlives what it was for
        return str(_("deleted"))
