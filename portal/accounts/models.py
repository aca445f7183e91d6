"""The people who sign in."""

from __future__ import annotations

from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords


def is_time_zone(value: str) -> None:
    if value not in available_timezones():
        raise ValidationError(
            _("“%(zone)s” is not a time zone, use a name such as Asia/Seoul."), params={"zone": value}
        )


class User(AbstractUser):
    """Someone who signs in. `language` and `time_zone` are empty until chosen: then the browser's are used."""

    language = models.CharField(_("language"), max_length=8, blank=True, choices=settings.LANGUAGES)
    time_zone = models.CharField(_("time zone"), max_length=64, blank=True, validators=[is_time_zone])

    history = HistoricalRecords(excluded_fields=["password", "last_login"], m2m_fields=["user_permissions"])

    class Meta:
        verbose_name = _("person")
        verbose_name_plural = _("people")
