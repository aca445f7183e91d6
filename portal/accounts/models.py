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


TOKEN_USE = ["used_at", "used_from"]


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


class ReadToken(models.Model):
    """A program's leave to read the API as `person`: it sees what they may see. Only the SHA-256 is kept."""

    person = models.ForeignKey(User, on_delete=models.CASCADE, related_name="read_tokens", verbose_name=_("person"))
    name = models.CharField(_("name"), max_length=100, help_text=_("What reads with it."))
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(_("ends with"), max_length=8, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    created_at = models.DateTimeField(_("added"), auto_now_add=True)
    used_at = models.DateTimeField(_("last use"), null=True, editable=False)
    used_from = models.CharField(_("from"), max_length=64, blank=True, editable=False)

    history = HistoricalRecords(excluded_fields=["digest", *TOKEN_USE])

    class Meta:
        ordering = ["person", "name"]
        constraints = [models.UniqueConstraint(fields=["person", "name"], name="read_token_once_per_name")]
        verbose_name = _("read token")
        verbose_name_plural = _("read tokens")

    def __str__(self) -> str:
        return self.name
