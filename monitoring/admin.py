"""Server groups, servers, sources, metrics, templates and the simulation in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.db.models.functions import Now
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext

from monitoring import hot, pausing
from monitoring.models import Membership, Metric, Server, ServerGroup, ServerTemplate, Simulation, Source
from portal.toolkit.audit import AuditedAdmin, person_of
from portal.toolkit.sentence import say

COLLECT_NOW = gettext_noop("Asked to collect now.")


def _say(request: HttpRequest, count: int, one: str, many: str) -> None:
    messages.success(request, ngettext(one, many, count) % {"count": count})


class MembershipInline(admin.StackedInline):  # type: ignore[type-arg]
    model = Membership
    extra = 0
    fields = (("user", "role"),)
    raw_id_fields = ("user",)


@admin.register(ServerGroup)
class ServerGroupAdmin(AuditedAdmin):
    list_display = ("name", "server_count", "member_count")
    search_fields = ("name",)
    ordering = ("name",)  # said again: grouping for the counts forgets the model's own
    inlines = (MembershipInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServerGroup]:
        groups: QuerySet[ServerGroup] = super().get_queryset(request)
        return groups.annotate(
            server_count=Count("servers", distinct=True), member_count=Count("memberships", distinct=True)
        )

    @admin.display(description=_("servers"), ordering="server_count")
    def server_count(self, group: ServerGroup) -> int:
        return group.server_count  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("members"), ordering="member_count")
    def member_count(self, group: ServerGroup) -> int:
        return group.member_count  # type: ignore[attr-defined, no-any-return]


class SimulatedFilter(admin.SimpleListFilter):
    title = _("simulated")
    parameter_name = "simulated"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", _t("Yes")), ("0", _t("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Server]) -> QuerySet[Server]:
        return queryset.filter(simulated=self.value() == "1") if self.value() in {"0", "1"} else queryset


class SourceForm(ModelForm):  # type: ignore[type-arg]
    def save(self, commit: bool = True) -> Any:
        """A source that was changed is read next, whatever back-off it was in."""
        if self.instance.pk and self.changed_data:
            self.instance.due_at = timezone.now()
        return super().save(commit)


class SourceInline(admin.StackedInline):  # type: ignore[type-arg]
    model = Source
    form = SourceForm
    extra = 0
    fields = (
        ("collector", "url"),
        ("interval_s", "timeout_s", "sample_limit"),
        ("keep_everything", "paused"),
        ("ok_at", "failures", "error_at", "error"),
    )
    readonly_fields = ("ok_at", "failures", "error_at", "error")
    show_change_link = True

    def get_extra(self, request: HttpRequest, obj: Server | None = None, **kwargs: Any) -> int:
        """A new server is usually added to read something: the form for it is open."""
        return 1 if obj is None else 0


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
        _say(request, len(servers), "%(count)d server paused.", "%(count)d servers paused.")

    @admin.action(description=_("Resume"), permissions=["change"])
    def resume(self, request: HttpRequest, chosen: QuerySet[Server]) -> None:
        servers = pausing.resume_servers(chosen, person_of(request))
        self.log_selected(request, servers, pausing.RESUMED)
        _say(request, len(servers), "%(count)d server resumed.", "%(count)d servers resumed.")


def _value_table(rows: list[tuple[str, float, str]]) -> SafeString:
    cells = ((name, f"{value:g}", unit) for name, value, unit in rows)
    body = format_html_join("", "<tr><th scope='row'>{}</th><td class='number'>{} {}</td></tr>", cells)
    return format_html("<table class='facts'>{}</table>", body)


@admin.register(Source)
class SourceAdmin(AuditedAdmin):
    form = SourceForm
    list_display = ("server", "collector", "url", "interval_s", "paused", "ok_at", "failures", "last_error")
    list_display_links = ("server", "url")
    list_filter = ("collector", "paused")
    list_select_related = ("server",)
    search_fields = ("server__name", "url")
    ordering = ("server__name", "collector", "url")
    fields = (
        "server",
        ("collector", "url"),
        ("interval_s", "timeout_s", "sample_limit"),
        ("keep_everything", "paused"),
        ("ok_at", "samples", "duration_ms"),
        ("failures", "error_at"),
        "error",
    )
    readonly_fields = ("ok_at", "samples", "duration_ms", "failures", "error_at", "error")
    raw_id_fields = ("server",)
    actions = ("pause", "resume", "collect_now")

    @admin.display(description=_("last error"), ordering="error_at")
    def last_error(self, source: Source) -> str:
        return _t(source.error) if source.failures and source.error else ""

    @admin.action(description=_("Pause"), permissions=["change"])
    def pause(self, request: HttpRequest, chosen: QuerySet[Source]) -> None:
        sources = list(chosen.filter(paused=False))
        self.change_selected(request, sources, {"paused": True}, pausing.PAUSED)
        _say(request, len(sources), "%(count)d source paused.", "%(count)d sources paused.")

    @admin.action(description=_("Resume"), permissions=["change"])
    def resume(self, request: HttpRequest, chosen: QuerySet[Source]) -> None:
        sources = list(chosen.filter(paused=True))
        self.change_selected(request, sources, {"paused": False}, pausing.RESUMED)
        _say(request, len(sources), "%(count)d source resumed.", "%(count)d sources resumed.")

    @admin.action(description=_("Collect now"), permissions=["change"])
    def collect_now(self, request: HttpRequest, chosen: QuerySet[Source]) -> None:
        """The next beat tick finds them due, whatever back-off they were in."""
        sources = list(chosen.filter(paused=False, server__paused=False))
        Source.objects.filter(pk__in=[source.pk for source in sources]).update(due_at=Now())
        self.log_selected(request, sources, COLLECT_NOW)
        _say(request, len(sources), "%(count)d source is read next.", "%(count)d sources are read next.")


@admin.register(Simulation)
class SimulationAdmin(AuditedAdmin):
    """One switch: the list goes straight to it."""

    fields = ("paused", "generated_until")
    readonly_fields = ("generated_until",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Simulation | None = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        only = Simulation.objects.filter(pk=1).first()
        if only is None or not self.has_view_or_change_permission(request, only):
            response: HttpResponse = super().changelist_view(request, extra_context)
            return response
        return redirect("admin:monitoring_simulation_change", only.pk)


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


@admin.register(Metric)
class MetricAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """To look things up: the catalogue is code, and other metrics come by being recorded."""

    list_display = ("name", "translated_label", "unit", "family", "minimum", "maximum", "resolution")
    list_filter = ("family",)
    search_fields = ("name", "label")
    show_full_result_count = False

    @admin.display(description=_("label"), ordering="label")
    def translated_label(self, metric: Metric) -> str:
        return _t(metric.label) if metric.label else ""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Metric | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Metric | None = None) -> bool:
        return False
