"""How long history is kept, and what people took out of it."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from monitoring.models.access import ServerGroup
from monitoring.models.server import Server

KEPT = ("samples_days", "minutes_days", "quarters_days", "hours_days")
"""From the finest to the coarsest."""
DAYS = [MinValueValidator(1), MaxValueValidator(36_500)]


class Retention(models.Model):
    """Days that samples and roll-ups are kept, of one group or (without a group) of all that have no row of their own.

    Without any row the settings PORTAL_RETENTION_… count.
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


class ExportState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")


class Export(models.Model):
    """History that somebody wants as a file; written by a worker in parts, and forgotten after a day.

    `metrics` are the columns, [metric, labels] of each; `written_until` is how far the parts reach: a killed worker
    goes on there.
    """

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="+")
    metrics = models.JSONField(default=list)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    format = models.CharField(max_length=4, choices=[("csv", "CSV"), ("json", "JSON")], default="csv")
    state = models.CharField(max_length=8, choices=ExportState.choices, default=ExportState.WAITING)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    leased_until = models.DateTimeField(null=True)
    written_until = models.DateTimeField(null=True)
    rows = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="export_created_at")]
        verbose_name = _("export")
        verbose_name_plural = _("exports")

    def __str__(self) -> str:
        return f"{self.server} {self.starts_at:%F %T} – {self.ends_at:%F %T}"


class ExportPart(models.Model):
    """A gzip member of an export's file; the members one after another are the file."""

    export = models.ForeignKey(Export, on_delete=models.CASCADE, related_name="parts")
    number = models.IntegerField()
    body = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["export", "number"], name="export_part_once")]

    def __str__(self) -> str:
        return f"{self.export_id}/{self.number}"
