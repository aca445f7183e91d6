"""Metrics: what can be measured, with its unit and how it is shown."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Metric(models.Model):
    """One measurable thing. Catalogue metrics come from `monitoring.catalogue`; others join by being recorded."""

    name = models.CharField(_("name"), max_length=200, unique=True)
    label = models.CharField(_("label"), max_length=100, blank=True)
    unit = models.CharField(_("unit"), max_length=20, blank=True)
    family = models.CharField(_("family"), max_length=20, blank=True, help_text=_("Empty: not of the catalogue."))
    minimum = models.FloatField(_("minimum"), null=True, blank=True)
    maximum = models.FloatField(_("maximum"), null=True, blank=True)
    resolution = models.FloatField(
        _("resolution"),
        default=0,
        help_text=_("What OpenManager computes itself is rounded to it; what is pushed is kept as it is."),
    )
    is_counter = models.BooleanField(
        _("counter"), default=False, help_text=_("Kept as it is sent, ever growing; shown as its increase per second.")
    )
    position = models.SmallIntegerField(_("position"), default=1000)

    class Meta:
        ordering = ["position", "name"]
        verbose_name = _("metric")
        verbose_name_plural = _("metrics")

    def __str__(self) -> str:
        return self.label or self.name
