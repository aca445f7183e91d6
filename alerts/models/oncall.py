"""Who is told: rotas of people, by server group."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from alerts.models import sense
from alerts.models.threshold import Level
from monitoring.models import ServerGroup


class Rotation(models.TextChoices):
    """How the turn passes on. Everyone: all members are told, always."""

    EVERYONE = "everyone", _("Everyone, always")
    DAILY = "daily", _("One a day")
    WEEKLY = "weekly", _("One a week")


class Weekday(models.IntegerChoices):
    MONDAY = 0, _("Monday")
    TUESDAY = 1, _("Tuesday")
    WEDNESDAY = 2, _("Wednesday")
    THURSDAY = 3, _("Thursday")
    FRIDAY = 4, _("Friday")
    SATURDAY = 5, _("Saturday")
    SUNDAY = 6, _("Sunday")


class Rota(models.Model):
    """The people on call for a group of servers; the one without a group serves every group that has none of its own.

    The turn passes to the next member at `handover` (time of day in `time_zone`), weekly on `handover_day`, counted
    from `starts_on`, when it is the first member's.
    """

    group = models.OneToOneField(
        ServerGroup,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="rota",
        verbose_name=_("group"),
        help_text=_("Empty: for every group without a rota of its own."),
    )
    rotation = models.CharField(_("rotation"), max_length=10, choices=Rotation.choices, default=Rotation.EVERYONE)
    time_zone = models.CharField(_("time zone"), max_length=64, default="UTC")
    handover = models.TimeField(_("handover at"), default="09:00")
    handover_day = models.PositiveSmallIntegerField(
        _("handover on"), choices=Weekday.choices, default=Weekday.MONDAY, validators=[MaxValueValidator(6)]
    )
    starts_on = models.DateField(_("first turn"), help_text=_("The day on which it is the first member's turn."))
    least_level = models.CharField(
        _("mail from"),
        max_length=10,
        choices=Level.choices,
        default=Level.WARNING,
        help_text=_("Less than this is shown, not mailed."),
    )

    history = HistoricalRecords()

    class Meta:
        ordering = [models.F("group__name").asc(nulls_first=True)]
        constraints = [
            models.UniqueConstraint(
                fields=["group"], nulls_distinct=False, name="one_rota_per_group_and_one_for_the_rest"
            )
        ]
        verbose_name = _("rota")
        verbose_name_plural = _("rotas")

    def __str__(self) -> str:
        return str(self.group) if self.group else str(_("Every other group"))

    def clean(self) -> None:
        """Refuses a time zone that is none, and a second rota for the rest; one query."""
        sense.refuse(sense.rota_complaints(self))
        if self.group_id is None and Rota.objects.filter(group=None).exclude(pk=self.pk).exists():
            raise ValidationError({"group": _("There is a rota for every other group already.")}, code="taken")


class RotaMember(models.Model):
    """A person's place in the order of turns."""

    rota = models.ForeignKey(Rota, on_delete=models.CASCADE, related_name="members")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("person")
    )
    position = models.PositiveSmallIntegerField(_("turn"), default=0)

    history = HistoricalRecords()

    class Meta:
        ordering = ["position", "pk"]
        constraints = [models.UniqueConstraint(fields=["rota", "person"], name="once_in_a_rota")]
        verbose_name = _("person on call")
        verbose_name_plural = _("people on call")

    def __str__(self) -> str:
        return str(self.person)


class StandIn(models.Model):
    """Somebody takes the turn of whoever would have it, from `starts_at` to `ends_at`."""

    rota = models.ForeignKey(Rota, on_delete=models.CASCADE, related_name="stand_ins")
    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", verbose_name=_("person")
    )
    starts_at = models.DateTimeField(_("starts"))
    ends_at = models.DateTimeField(_("ends"))

    history = HistoricalRecords()

    class Meta:
        ordering = ["starts_at", "pk"]
        constraints = [
            models.CheckConstraint(condition=models.Q(ends_at__gt=models.F("starts_at")), name="stand_in_has_a_length")
        ]
        verbose_name = _("stand-in")
        verbose_name_plural = _("stand-ins")

    def __str__(self) -> str:
        return str(self.person)

    def clean(self) -> None:
        sense.refuse(sense.time_complaints(self.starts_at, self.ends_at))
