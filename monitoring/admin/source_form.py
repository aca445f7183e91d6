"""The form of a source: a URL, a password that is never shown again, and the options of the chosen collector."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from monitoring.collectors.credentials import Parts, parts_of
from monitoring.collectors.options import form_fields, needs_of
from monitoring.models import CHECKS, Collector, Server, Source
from portal.toolkit.secrets import seal

MAX_SECRET = 8000


def field_name(collector: str, option: str) -> str:
    """What an option of a collector is called in the form."""
    return f"{collector}_{option}"


def _option_fields() -> dict[str, forms.Field]:
    """The options of all collectors: without a script all are shown, and those of the chosen one count."""
    return {
        field_name(collector, name): field
        for collector in Collector.values
        for name, field in form_fields(needs_of(collector).options).items()
    }


OPTION_FIELDS = _option_fields()
_OptionsForm: Any = type("_OptionsForm", (forms.ModelForm,), dict(OPTION_FIELDS))


class SourceForm(_OptionsForm):  # type: ignore[misc]
    """Sets `options` and `sealed_secret` of its source; a password in the URL goes the same way as one in its field."""

    secret = forms.CharField(
        label=_("Password or token"),
        required=False,
        strip=False,
        max_length=MAX_SECRET,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    forget_secret = forms.BooleanField(label=_("Remove the kept password"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._url_error: ValidationError | None = None
        self._before = (self.instance.collector, self.instance.url)
        self._show_options()
        if self.is_bound:
            self._take_password_out()

    def _show_options(self) -> None:
        collector, stored = self.instance.collector, self.instance.options or {}
        for name, value in stored.items():
            if field_name(collector, name) in OPTION_FIELDS:
                self.initial.setdefault(field_name(collector, name), value)
        if self.instance.sealed_secret:
            self.fields["secret"].help_text = _("One is kept. Type another to replace it.")
        else:
            self.fields["forget_secret"].widget = forms.HiddenInput()
        if "collector" in self.fields:
            needs = {name: needs_of(name) for name in Collector.values}
            self.fields["collector"].widget.attrs |= {
                "data-without-url": " ".join(name for name, needed in needs.items() if needed.url == "none"),
                "data-with-secret": " ".join(name for name, needed in needs.items() if needed.secret),
            }

    def _take_password_out(self) -> None:
        """Move it from the URL to its own field before anything is checked, stored or shown again."""
        url, secret = self.add_prefix("url"), self.add_prefix("secret")
        typed = str(self.data.get(url, "")).strip()
        try:
            parts = parts_of(typed)
        except ValidationError as error:
            self._url_error = error
            parts = Parts("", "", "", "")
        if parts.kept != typed:
            data = self.data.copy()
            data[url] = parts.kept
            data[secret] = data.get(secret) or parts.plain_password
            self.data: Any = data

    def full_clean(self) -> None:
        super().full_clean()
        if self.is_bound and self.errors and self.data.get(self.add_prefix("secret")) and "secret" not in self.errors:
            self.add_error("secret", _t("What you typed here is not shown again: type it once more."))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        collector = str(cleaned.get("collector") or self.instance.collector)
        own = {field_name(collector, name): name for name in form_fields(needs_of(collector).options)}
        for name in OPTION_FIELDS.keys() - own.keys():
            self.errors.pop(name, None)
        self.instance.options = {
            name: OPTION_FIELDS[field].initial if cleaned[field] in (None, "") else cleaned[field]
            for field, name in own.items()
            if field in cleaned
        }
        if self._url_error is not None:
            self.add_error("url", self._url_error)
        self._check_secret(collector, cleaned)
        server = cleaned.get("server")
        if collector in CHECKS and server and server.pk and field_name(collector, "name") in cleaned:
            self._check_name(collector, server)
        return cleaned

    def _check_name(self, collector: str, server: Server) -> None:
        """Two checks of one name would write into the same series, and each hide what the other found."""
        name = self.instance.options["name"]
        others = Source.objects.filter(server=server, collector__in=CHECKS).exclude(pk=self.instance.pk)
        if any((other.options or {}).get("name", "") == name for other in others):
            self.add_error(
                field_name(collector, "name"),
                _t("This server has a check called “%(name)s”: give this one another name.") % {"name": name}
                if name
                else _t("This server has a check without a name: give this one a name."),
            )

    def _check_secret(self, collector: str, cleaned: dict[str, Any]) -> None:
        if cleaned.get("secret"):
            if not needs_of(collector).secret:
                self.add_error("secret", _t("This kind of source is read without a password."))
        elif self.instance.sealed_secret and not cleaned.get("forget_secret") and self._moved(collector, cleaned):
            self.add_error(
                "secret", _t("The kept password belongs to the former address: type it again, or remove it.")
            )

    def _moved(self, collector: str, cleaned: dict[str, Any]) -> bool:
        """Whether a kept password would now be sent to somebody else than the one it was typed for."""
        return _asked(collector, str(cleaned.get("url", ""))) != _asked(*self._before)

    def save(self, commit: bool = True) -> Any:
        """A source that was changed is read next, whatever back-off it was in."""
        if self.cleaned_data.get("secret"):
            self.instance.sealed_secret = seal(self.cleaned_data["secret"])
        elif self.cleaned_data.get("forget_secret") or not needs_of(self.instance.collector).secret:
            self.instance.sealed_secret = ""
        if self.instance.pk and self.changed_data:
            self.instance.due_at = timezone.now()
        return super().save(commit)


def _asked(collector: str, url: str) -> tuple[str, str, str, str]:
    """Who is asked, and as whom: what a password belongs to."""
    try:
        parts = parts_of(url.strip())
    except ValidationError:
        return collector, "", "", url
    host = parts.place
    for mark in "/?#":
        host = host.partition(mark)[0]
    return collector, parts.scheme.lower(), parts.user, host.lower()
