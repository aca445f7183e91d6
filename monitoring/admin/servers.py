"""Servers and the templates of simulated ones."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from monitoring import hot, pausing
from monitoring.admin.said import say_count
from monitoring.admin.sources import SourceInline
from monitoring.models import Metric, Server, ServerTemplate
from portal.toolkit.audit import AuditedAdmin, person_of
from portal.toolkit.sentence import say


class SimulatedFilter(admin.SimpleListFilter):
    title = _("simulated")
    parameter_name = "simulated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", _t("Yes")), ("0", _t("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Server]) -> QuerySet[Server]:
        return queryset.filter(simulated=self.value() == "1") if self.value() in {"0", "1"} else queryset


@admin.register(Server)
class ServerAdmin(AuditedAdmin):
    list_display = ("name", "state", "kind", "group", "is_simulated", "paused", "seen_at")
    list_filter = ("state", "kind", SimulatedFilter, "paused", "group")
    list_select_related = ("group",)
    search_fields = ("name", "description")
    fields = ("name", ("kind", "group"), "description", "template", "paused")
    facts = (("state", "state_since", "seen_at"), "reason", "newest_values")
    readonly_fields = ("state", "state_since", "seen_at", "reason", "newest_values")
    inlines = (SourceInline,)
    actions = ("pause", "resume")

    def get_fields(self, request: HttpRequest, obj: Server | None = None) -> tuple[Any, ...]:
        return self.fields if obj is None else (*self.fields, *self.facts)

    @admin.display(description=_("reason"))
    def reason(self, server: Server) -> str:
        return say(server.state_reason)

    @admin.display(description=_("simulated"), boolean=True, ordering="simulated")
    def is_simulated(self, server: Server) -> bool:
        return bool(server.simulated)

    @admin.display(description=_("newest values"))
    def newest_values(self, server: Server) -> SafeString | str:
        """One Redis round trip; the server's own series first, in the catalogue's order."""
        values = hot.newest([server.pk])[server.pk] if server.pk else {}
        if not values:
            return _t("No data has arrived yet.")
        known = {metric.name: metric for metric in Metric.objects.filter(name__in={name.metric for name in values})}
        names = sorted((n for n in values if n.metric in known), key=lambda n: (known[n.metric].position, n))
        return _value_table(
            [(f"{_t(str(known[n.metric]))} {n.labels}", values[n][1], known[n.metric].unit) for n in names]
        )

    def save_model(self, request: HttpRequest, obj: Server, form: ModelForm, change: bool) -> None:  # type: ignore[type-arg]
        super().save_model(request, obj, form, change)
        if change and "paused" in form.changed_data:
            pausing.show_paused([obj])

    @admin.action(description=_("Pause: collect nothing, raise no alert"), permissions=["change"])
    def pause(self, request: HttpRequest, chosen: QuerySet[Server]) -> None:
        servers = pausing.pause_servers(chosen, person_of(request))
        self.log_selected(request, servers, pausing.PAUSED)
        say_count(request, len(servers), "%(count)d server paused.", "%(count)d servers paused.")

    @admin.action(description=_("Resume"), permissions=["change"])
    def resume(self, request: HttpRequest, chosen: QuerySet[Server]) -> None:
        servers = pausing.resume_servers(chosen, person_of(request))
        self.log_selected(request, servers, pausing.RESUMED)
        say_count(request, len(servers), "%(count)d server resumed.", "%(count)d servers resumed.")


def _value_table(rows: list[tuple[str, float, str]]) -> SafeString:
    cells = ((name, f"{value:g}", unit) for name, value, unit in rows)
    body = format_html_join("", "<tr><th scope='row'>{}</th><td class='number'>{} {}</td></tr>", cells)
    return format_html("<table class='facts'>{}</table>", body)


@admin.register(ServerTemplate)
class ServerTemplateAdmin(AuditedAdmin):
    list_display = ("name", "kind", "server_count")
    list_filter = ("kind",)
    search_fields = ("name",)
    ordering = ("name",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServerTemplate]:
        templates: QuerySet[ServerTemplate] = super().get_queryset(request)
        return templates.annotate(server_count=Count("servers"))

    @admin.display(description=_("servers"), ordering="server_count")
    def server_count(self, template: ServerTemplate) -> int:
        return template.server_count  # type: ignore[attr-defined, no-any-return]
