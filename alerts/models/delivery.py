"""The outbox: what is to be sent to whom, and what the provider said."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from alerts.models.incident import Incident
from alerts.models.threshold import Level


class DeliveryKind(models.TextChoices):
    FIRED = "fired", _("It broke")
    RAISED = "raised", _("It got worse")
    REMINDER = "reminder", _("Nobody has it any more")
    RECOVERED = "recovered", _("It recovered")


class DeliveryStatus(models.TextChoices):
    """Queued until the provider accepted it, or refused it for good (dead), or it was given up after 24 h (dead)."""

    QUEUED = "queued", _("Queued")
    ACCEPTED = "accepted", _("Accepted")
    DEAD = "dead", _("Dead letter")


class Delivery(models.Model):
    """One message to one person, committed with the transition that it tells of.

    `key` makes it idempotent: the same decision taken twice is one row; the message id is made of it and stays.
    Address, language and time zone are copies: whoever was told that it broke is told that it recovered, even when
    their account is gone. `leased_until` keeps other drainers away while one sends; `next_attempt_at` is the one timer.
    """

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="deliveries")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    person_name = models.CharField(_("person"), max_length=200)
    address = models.EmailField(_("address"), max_length=254)
    language = models.CharField(max_length=8, default="en")
    time_zone = models.CharField(max_length=64, default="UTC")
    kind = models.CharField(_("kind"), max_length=10, choices=DeliveryKind.choices)
    level = models.CharField(_("level"), max_length=10, choices=Level.choices)
    key = models.CharField(max_length=120, unique=True)
    status = models.CharField(_("status"), max_length=10, choices=DeliveryStatus.choices, default=DeliveryStatus.QUEUED)
    created_at = models.DateTimeField(_("queued"))
    next_attempt_at = models.DateTimeField(_("next attempt"))
    leased_until = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    answer = models.TextField(_("answer of the mail server"), blank=True)
    ended_at = models.DateTimeField(_("ended"), null=True)

    class Meta:
        ordering = ["-created_at", "-pk"]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(status="queued"), name="delivery_due"),
            models.Index(fields=["status", "-created_at"], name="delivery_status"),
        ]
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")

    def __str__(self) -> str:
        return f"{self.get_kind_display()} → {self.address}"


class Bounce(models.Model):
    """An address that refused a mail for good; gone with the next mail that it accepts."""

    address = models.EmailField(_("address"), max_length=254, unique=True)
    at = models.DateTimeField(_("refused"))
    answer = models.TextField(_("answer of the mail server"))

    class Meta:
        ordering = ["-at"]
        verbose_name = _("bouncing address")
        verbose_name_plural = _("bouncing addresses")

    def __str__(self) -> str:
        return self.address
