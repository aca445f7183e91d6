"""Push tokens: the text is shown once, after it was made or rotated, with commands to copy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from monitoring.adding import commands_for
from monitoring.ingest import tokens
from monitoring.models import PushToken
from portal.toolkit.audit import AuditedAdmin
from portal.toolkit.shown_once import Shown, shown_once
from portal.toolkit.tokens import new_text

EDITED = ("name", "group", "adds_servers", "host_label", "series_budget", "enabled", "expires_at")
WARN_FOR = timedelta(days=1)
WAYS = ("agent", "curl", "prometheus", "otlp")


class PushTokenForm(ModelForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or {}
        group = said.get("group")
        elsewhere = [server.name for server in said.get("servers") or () if group and server.group_id != group.pk]
        if elsewhere:
            wrong = _("These are not servers of the group: %(names)s.")
            self.add_error("servers", ValidationError(wrong, params={"names": ", ".join(elsewhere[:10])}))
        return said


@admin.register(PushToken)
class PushTokenAdmin(AuditedAdmin):
    form = PushTokenForm
    change_form_template = "admin/monitoring/push_token_form.html"
    list_display = ("name", "group", "enabled", "used_at", "used_from", "a_minute", "series")
    list_filter = ("enabled", "group")
    list_select_related = ("group",)
    search_fields = ("name",)
    autocomplete_fields = ("servers",)
    fields = ("name", "group", "servers", "adds_servers", "host_label", "series_budget", "expires_at")
    facts = (
        ("hint", "former_until"),
        ("used_at", "used_from"),
        ("a_minute", "samples"),
        ("series", "lines", "refused"),
    )
    readonly_fields = (
        "hint",
        "former_until",
        "used_at",
        "used_from",
        "a_minute",
        "samples",
        "series",
        "lines",
        "refused",
    )
    actions = ("rotate",)

    def get_fieldsets(self, request: HttpRequest, obj: PushToken | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": self.fields})]
        return [
            (None, {"fields": (*self.fields, "enabled")}),
            (_("Use"), {"classes": ("beside",), "fields": self.facts}),
        ]

    @admin.display(description=_("samples a minute"))
    def a_minute(self, token: PushToken) -> str:
        return f"{tokens.samples_a_minute(token, timezone.now()):,}"

    @admin.display(description=_("series"), ordering="series_count")
    def series(self, token: PushToken) -> str:
        return _t("%(count)s of %(most)s") % {"count": f"{token.series_count:,}", "most": f"{token.series_budget:,}"}

    def save_model(self, request: HttpRequest, obj: PushToken, form: ModelForm[Any], change: bool) -> None:
        if not change:
            text = new_text(tokens.PREFIX)
            tokens.dress(obj, text)
            obj.save()
            request.META["shown_once"] = [_shown(obj, text)]
            return
        obj.save(update_fields=EDITED)  # the rest is counted meanwhile
        if "_rotate" in request.POST:
            request.META["shown_once"] = [_shown(obj, tokens.rotate(obj, timezone.now()))]

    def response_add(self, request: HttpRequest, obj: PushToken, post_url_continue: str | None = None) -> HttpResponse:
        """The token instead of a redirect: nothing keeps its text for another page."""
        return shown_once(request, self, request.META["shown_once"])

    def response_change(self, request: HttpRequest, obj: PushToken) -> HttpResponse:
        if "shown_once" in request.META:
            return shown_once(request, self, request.META["shown_once"])
        response: HttpResponse = super().response_change(request, obj)
        return response

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        token = self.get_object(request, object_id) if request.method == "GET" else None
        if token is not None:
            _warn(request, token)
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        return response

    @admin.action(description=_("Rotate: a new token, the former is taken for 24 h"), permissions=["change"])
    def rotate(self, request: HttpRequest, chosen: QuerySet[PushToken]) -> HttpResponse:
        now = timezone.now()
        rows = list(chosen)
        shown = [_shown(token, tokens.rotate(token, now)) for token in rows]
        self.log_selected(request, rows, tokens.ROTATED)
        return shown_once(request, self, shown)


def _shown(token: PushToken, text: str) -> Shown:
    ways = (commands_for(way, settings.PORTAL_URL, text) for way in WAYS)
    return Shown(token.name, text, [command for way in ways for command in way])


def _warn(request: HttpRequest, token: PushToken) -> None:
    """The owner is told that new series are refused, while that is news."""
    if token.series_refused_at is not None and timezone.now() - token.series_refused_at < WARN_FOR:
        text = _t("New series are refused: the budget of %(most)s is used up. The last one was %(name)s.")
        messages.warning(request, text % {"most": f"{token.series_budget:,}", "name": token.series_refused})
