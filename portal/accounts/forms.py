"""What people set about themselves."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from allauth.account.forms import LoginForm
from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from portal.accounts.models import User


def time_zone_choices() -> list[tuple[str, str]]:
    """Every place that has a name of its own; "" is the browser's."""
    places = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "System")))
    return [("", str(_("As the browser says"))), ("UTC", "UTC"), *((zone, zone) for zone in places)]


class PreferencesForm(forms.ModelForm):  # type: ignore[type-arg]  # Django 5.2 cannot be subscripted
    language = forms.ChoiceField(
        label=_("Language"), required=False, choices=[("", _("As the browser says")), *settings.LANGUAGES]
    )
    time_zone = forms.ChoiceField(label=_("Time zone"), required=False, choices=time_zone_choices)

    class Meta:
        model = User
        fields = ["language", "time_zone"]


class LanguageForm(forms.Form):
    language = forms.ChoiceField(choices=settings.LANGUAGES)


class SignInForm(LoginForm):  # type: ignore[misc]
    """allauth's, with labels that say what to type instead of placeholders that vanish."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["login"].label = _("Username or email")
        for field in self.fields.values():
            field.widget.attrs.pop("placeholder", None)
