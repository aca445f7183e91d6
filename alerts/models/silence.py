"""Silences and maintenance windows: times in which nobody is mailed."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from alerts.models import sense
from alerts.models.scope import Scope, target_fits_scope, target_of
from monitoring.models import Metric, Server, ServerGroup, ServerKind


class SilenceKind(models.TextChoices):
    SILENCE = "silence", _("Silence")
    MAINTENANCE = "maintenance", _("Maintenance")


class Silence(models.Model):
    """Nobody is mailed that something of its scope broke while starts_at <= now < ends_at.

    Incidents open and show as always. What is still firing at the end is mailed then; a recovery is mailed to whoever
    was told, silence or not. With `metric` it covers only problems of that metric.
    """

    purpose = models.CharField(_("purpose"), max_length=12, choices=SilenceKind.choices, default=SilenceKind.SILENCE)
    scope = models.CharField(_("scope"), max_length=10, choices=Scope.choices, default=Scope.SERVER)
    kind = models.CharField(_("kind"), max_length=20, choices=ServerKind.choices, blank=True)
    group = models.ForeignKey(
        ServerGroup, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("group")
    )
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("server")
    )
    metric = models.ForeignKey(
        Metric,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("metric"),
        help_text=_("Empty: every metric."),
    )
    reason = models.CharField(_("reason"), max_length=300)
    starts_at = models.DateTimeField(_("starts"))
    ends_at = models.DateTimeField(_("ends"))
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="+",
        verbose_name=_("by"),
    )
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    history = HistoricalRecords()

    class Meta:
        ordering = ["-ends_at", "-pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(ends_at__gt=models.F("starts_at")), name="silence_has_a_length"),
            target_fits_scope("silence_target_fits_scope"),
        ]
        indexes = [models.Index(fields=["ends_at"], name="silence_ends")]
        verbose_name = _("silence")
        verbose_name_plural = _("silences and maintenance")

    def __str__(self) -> str:
        return f"{self.get_purpose_display()} · {self.target}"

    def clean(self) -> None:
        """Refuses a scope without its target and times that cannot be, each at its field."""
        sense.refuse(sense.scope_complaints(self))
        sense.refuse(sense.silence_complaints(self, timezone.now()))

    @property
    def target(self) -> str:
        return target_of(self)
