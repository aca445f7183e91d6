"""What people take out of the portal as files."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from monitoring.models.server import Server


class ExportKind(models.TextChoices):
    HISTORY = "history", _("History")
    LOGS = "logs", _("Logs")


class ExportState(models.TextChoices):
    WAITING = "waiting", _("Waiting")
    RUNNING = "running", _("Running")
    DONE = "done", _("Done")
    FAILED = "failed", _("Failed")


class Export(models.Model):
    """What somebody wants as a file; written by a worker in parts, and forgotten after a day.

    `asked` is what of it: of history the columns, [metric, labels] of each of `server`; of logs the members of an Ask
    (`monitoring.exports`). `servers` are those whose data are in the parts; who may not see all of them any more does
    not get the file. `written_until` and, where an instant is not exact enough, `reached` are how far the parts reach:
    a killed worker goes on there.
    """

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=8, choices=ExportKind.choices, default=ExportKind.HISTORY)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, null=True, related_name="+")
    servers = ArrayField(models.BigIntegerField(), default=list)
    asked = models.JSONField(default=list)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    format = models.CharField(max_length=5, default="csv")
    state = models.CharField(max_length=8, choices=ExportState.choices, default=ExportState.WAITING)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    leased_until = models.DateTimeField(null=True)
    written_until = models.DateTimeField(null=True)
    reached = models.CharField(max_length=50, blank=True)
    rows = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)

    class Meta:
        indexes = [models.Index(fields=["created_at"], name="export_created_at")]
        verbose_name = _("export")
        verbose_name_plural = _("exports")

    def __str__(self) -> str:
        return f"{self.server or self.kind} {self.starts_at:%F %T} – {self.ends_at:%F %T}"


class ExportPart(models.Model):
    """A gzip member of an export's file; the members one after another are the file."""

    export = models.ForeignKey(Export, on_delete=models.CASCADE, related_name="parts")
    number = models.IntegerField()
    body = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["export", "number"], name="export_part_once")]

    def __str__(self) -> str:
        return f"{self.export_id}/{self.number}"
