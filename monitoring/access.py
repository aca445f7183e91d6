"""Who may see and do what. Every page, fragment, API answer and socket asks here and nowhere else.

A person is a member of groups with a role; a server belongs to one group. A stranger is told that the thing does not
exist (404), a member whose role is too low that it is not theirs to do (403).
"""

from __future__ import annotations

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404
from django.utils.translation import gettext as _

from monitoring.models import Membership, Role, Server, ServerGroup

Person = AbstractUser | AnonymousUser

EVERYTHING = "*"
"""The audience of superusers."""


def groups_for(user: Person, role: Role = Role.VIEWER) -> QuerySet[ServerGroup]:
    """The groups in which `user` has at least `role`; all for a superuser, none for who is not active or signed in."""
    if not user.is_active:
        return ServerGroup.objects.none()
    if user.is_superuser:
        return ServerGroup.objects.all()
    held = Membership.objects.filter(user_id=user.pk, role__in=role.at_least())
    return ServerGroup.objects.filter(pk__in=held.values("group_id"))


def servers_for(user: Person, role: Role = Role.VIEWER) -> QuerySet[Server]:
    """The servers of the groups in which `user` has at least `role`. Costs no query of its own."""
    if user.is_active and user.is_superuser:
        return Server.objects.all()
    return Server.objects.filter(group_id__in=groups_for(user, role).order_by().values("pk"))


def server_ids_for(user: Person) -> frozenset[int]:
    """The ids of all servers that `user` may see now; for what is looked up outside of the models. One query."""
    return frozenset(servers_for(user).order_by().values_list("pk", flat=True))


def server_for(user: Person, server_id: int, role: Role = Role.VIEWER) -> Server:
    """One server that `user` may use with `role`, with its group; one query, two when the role is too low.

    Raises Http404 when they may not see it (also when there is none), PermissionDenied when they only see it.
    """
    server = servers_for(user, role).select_related("group").filter(pk=server_id).first()
    if server is not None:
        return server
    if role is not Role.VIEWER and servers_for(user).filter(pk=server_id).exists():
        raise PermissionDenied(_("Your role in this group does not allow that."))
    raise Http404(_("There is no such server."))


def operated_groups(user: Person) -> list[int]:
    """The ids, in order, of the groups whose servers `user` may pause, acknowledge and silence."""
    return sorted(groups_for(user, Role.OPERATOR).order_by().values_list("pk", flat=True))


def audience_of(user: Person) -> str:
    """A key that is equal for people who may see the same: "*" for superusers, else group ids such as "1,4,7".

    "" may see nothing.
    """
    if user.is_active and user.is_superuser:
        return EVERYTHING
    return ",".join(str(pk) for pk in sorted(groups_for(user).order_by().values_list("pk", flat=True)))


def servers_of(audience: str) -> QuerySet[Server]:
    """The servers that everyone of `audience` may see. The key must come from `audience_of`, never from a person."""
    if audience == EVERYTHING:
        return Server.objects.all()
    return Server.objects.filter(group_id__in=[int(pk) for pk in audience.split(",") if pk])
