"""How long history and logs are kept."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from monitoring.models.access import ServerGroup
from monitoring.models.server import Server

KEPT = ("samples_days", "minutes_days", "quarters_days", "hours_days")
"""From the finest to the coarsest."""
LOGS = "logs_days"
DAYS = [MinValueValidator(1), MaxValueValidator(36_500)]


class Retention(models.Model):
    """Days that samples, roll-ups and lines of logs are kept, of one group or (without a group) of all that have no row
    of their own. Without any row the settings PORTAL_RETENTION_… count.
    """

    group = models.OneToOneField(
        ServerGroup,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="retention",
        verbose_name=_("group"),
        help_text=_("Empty: every group without a row of its own."),
    )
    samples_days = models.PositiveIntegerField(_("samples (days)"), validators=DAYS)
    minutes_days = models.PositiveIntegerField(_("1 min roll-ups (days)"), validators=DAYS)
    quarters_days = models.PositiveIntegerField(_("15 min roll-ups (days)"), validators=DAYS)
    hours_days = models.PositiveIntegerField(_("1 h roll-ups (days)"), validators=DAYS)
    logs_days = models.PositiveIntegerField(_("logs (days)"), validators=DAYS, default=30)

    history = HistoricalRecords()

    class Meta:
        constraints = [
            models.UniqueConstraint(models.Value(1), condition=models.Q(group=None), name="one_general_retention")
        ]
        verbose_name = _("retention")
        verbose_name_plural = _("retention")

    def __str__(self) -> str:
        return self.group.name if self.group else str(_("All other groups"))

    def clean(self) -> None:
        """One row for all other groups. A coarser tier is what remains of a finer one: kept at least as long."""
        if self.group is None and Retention.objects.filter(group=None).exclude(pk=self.pk).exists():
            raise ValidationError({"group": _("There is a row for all other groups already.")})
        for finer, coarser in pairwise(KEPT):
            days, least = getattr(self, coarser), getattr(self, finer)
            if days is not None and least is not None and days < least:
                text = _("At least %(days)d: what it is made from is kept that long.") % {"days": least}
                raise ValidationError({coarser: text})


class Trimmed(models.Model):
    """How far a server's history has left: nothing older than these instants is kept, of samples and of each tier.

    They never move back: what has left does not come back when it is to be kept for longer.
    """

    server = models.OneToOneField(Server, on_delete=models.CASCADE, primary_key=True, related_name="+")
    trimmed_at = models.DateTimeField()
    samples_until = models.DateTimeField()
    minutes_until = models.DateTimeField()
    quarters_until = models.DateTimeField()
    hours_until = models.DateTimeField()

    def __str__(self) -> str:
        return f"server {self.server_id} until {self.samples_until:%F}"

    @classmethod
    def columns(cls) -> list[str]:
        return ["samples_until", "minutes_until", "quarters_until", "hours_until"]

    @property
    def until(self) -> list[datetime]:
        return [getattr(self, column) for column in self.columns()]
