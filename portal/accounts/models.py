"""The people who sign in."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from simple_history.models import HistoricalRecords

PASSWORD_CHANGED = gettext_noop("Password changed.")


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

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Signing in is no change of a person: it leaves no row in their history. A new password says what it is."""
        fields = set(kwargs.get("update_fields") or ())
        if fields == {"last_login"}:
            self.skip_history_when_saving = True
        elif fields == {"password"}:
            self._change_reason = PASSWORD_CHANGED
        try:
            super().save(*args, **kwargs)
        finally:
            self.__dict__.pop("skip_history_when_saving", None)
            self.__dict__.pop("_change_reason", None)
