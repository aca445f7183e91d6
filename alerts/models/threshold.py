"""Thresholds: what a value may be before somebody is told."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from alerts.models import sense
from alerts.models.scope import Scope, target_fits_scope, target_of
from monitoring.models import Metric, Server, ServerGroup, ServerKind


class Level(models.TextChoices):
    """How bad it is, worst first. Database, CSS classes (is-…), API and tests use these words."""

    CRITICAL = "critical", _("Critical")
    WARNING = "warning", _("Warning")
    INFO = "info", _("Info")


class Direction(models.TextChoices):
    ABOVE = "above", _("above")
    BELOW = "below", _("below")


class Threshold(models.Model):
    """Limits of one metric for a scope; of a metric with labels, for each of its series.

    The narrowest enabled threshold of a metric and direction wins whole. One without any limit and without
    `no_data_after_s` exempts its scope. While `override_until` lies ahead, `override_warning` and `override_critical`
    stand in for the two limits; both empty means that it does not alert until then. Limits are in the metric's unit.
    """

    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="thresholds", verbose_name=_("metric"))
    scope = models.CharField(_("scope"), max_length=10, choices=Scope.choices, default=Scope.ALL)
    kind = models.CharField(_("kind"), max_length=20, choices=ServerKind.choices, blank=True)
    group = models.ForeignKey(
        ServerGroup, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("group")
    )
    server = models.ForeignKey(
        Server, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("server")
    )
    direction = models.CharField(_("direction"), max_length=5, choices=Direction.choices, default=Direction.ABOVE)
    warning = models.FloatField(_("warning"), null=True, blank=True)
    critical = models.FloatField(_("critical"), null=True, blank=True)
    clear = models.FloatField(
        _("clearing value"),
        null=True,
        blank=True,
        help_text=_("Back past this value it is over. Empty: as soon as the limit is no longer broken."),
    )
    for_s = models.PositiveIntegerField(
        _("for (seconds)"), default=0, help_text=_("How long the limit must be broken. 0: the first sample alerts.")
    )
    no_data_after_s = models.PositiveIntegerField(
        _("no data after (seconds)"), null=True, blank=True, help_text=_("Silence this long alerts. Empty: never.")
    )
    no_data_level = models.CharField(_("level of no data"), max_length=10, choices=Level.choices, default=Level.WARNING)
    enabled = models.BooleanField(_("enabled"), default=True)
    override_until = models.DateTimeField(_("overridden until"), null=True, blank=True)
    override_warning = models.FloatField(_("warning until then"), null=True, blank=True)
    override_critical = models.FloatField(_("critical until then"), null=True, blank=True)
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    history = HistoricalRecords(history_change_reason_field=models.TextField(null=True))

    class Meta:
        ordering = ["metric__position", "metric__name", "direction", "scope", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["metric", "direction", "scope", "kind", "group", "server"],
                nulls_distinct=False,
                name="one_threshold_per_metric_direction_and_scope",
            ),
            target_fits_scope("threshold_target_fits_scope"),
        ]
        verbose_name = _("threshold")
        verbose_name_plural = _("thresholds")

    def __str__(self) -> str:
        return f"{self.metric} · {self.get_direction_display()} · {self.target}"

    def clean(self) -> None:
        """Refuses what contradicts itself, its metric or the clock, each at its field. May read `metric`."""
        sense.refuse(sense.scope_complaints(self))
        if self.metric_id is not None:
            sense.refuse(sense.threshold_complaints(self, timezone.now()))

    @property
    def is_above(self) -> bool:
        return self.direction == Direction.ABOVE

    @property
    def target(self) -> str:
        return target_of(self)

    def limits(self, now: datetime) -> tuple[float | None, float | None]:
        """(warning, critical) as they count at `now`, an override considered."""
        if self.is_overridden(now):
            return self.override_warning, self.override_critical
        return self.warning, self.critical

    def is_overridden(self, now: datetime) -> bool:
        return self.override_until is not None and now < self.override_until
