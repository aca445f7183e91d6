"""Who may see and handle which incident: whoever may see, or operate, its server."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404
from django.utils.translation import gettext as _

from alerts.models import Incident
from monitoring.access import EVERYTHING, Person, groups_for
from monitoring.models import Role


def incidents_for(user: Person, role: Role = Role.VIEWER) -> QuerySet[Incident]:
    """The incidents of the groups in which `user` has at least `role`. Costs no query of its own.

    An incident belongs to the group that its server is in now; when the server is gone, to the one it was in.
    """
    if user.is_active and user.is_superuser:
        return Incident.objects.all()
    return Incident.objects.filter(_of_groups(groups_for(user, role).order_by().values("pk")))


def incident_for(user: Person, incident_id: int, role: Role = Role.VIEWER) -> Incident:
    """One incident that `user` may use with `role`; one query, two when the role is too low.

    Raises Http404 when they may not see it (also when there is none), PermissionDenied when they only see it.
    """
    visible = incidents_for(user, role).select_related("server", "group", "acknowledged_by")
    incident = visible.filter(pk=incident_id).first()
    if incident is not None:
        return incident
    if role is not Role.VIEWER and incidents_for(user).filter(pk=incident_id).exists():
        raise PermissionDenied(_("Your role in this group does not allow that."))
    raise Http404(_("There is no such incident."))


def incidents_of(audience: str) -> QuerySet[Incident]:
    """The incidents that everyone of `audience` may see (see `monitoring.access.audience_of`)."""
    if audience == EVERYTHING:
        return Incident.objects.all()
    return Incident.objects.filter(_of_groups([int(pk) for pk in audience.split(",") if pk]))


def _of_groups(groups: object) -> Q:
    return Q(server__group_id__in=groups) | Q(server=None, group_id__in=groups)
