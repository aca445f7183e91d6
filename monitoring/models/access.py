"""Who may see and do what: servers belong to a group, people are members of groups with a role."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords


class Role(models.TextChoices):
    """What a member may do; each role may do all that the ones before it may."""

    VIEWER = "viewer", _("Viewer: sees")
    OPERATOR = "operator", _("Operator: acknowledges, silences, pauses")
    ADMIN = "admin", _("Admin: changes settings")

    def at_least(self) -> list[Role]:
        """The roles that may do what this one may."""
        order = list(Role)
        return order[order.index(self) :]


class ServerGroup(models.Model):
    """A tenant: a set of servers and the people who may see them."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="server_groups")

    history = HistoricalRecords()

    class Meta:
        ordering = ["name"]
        verbose_name = _("server group")
        verbose_name_plural = _("server groups")

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """One person's role in one group."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    group = models.ForeignKey(ServerGroup, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.VIEWER)

    history = HistoricalRecords()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "group"], name="one_role_per_person_and_group")]
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")

    def __str__(self) -> str:
        return f"{self.user} · {self.group} · {self.get_role_display()}"
