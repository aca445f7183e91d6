"""What is read, and how often: on its own list and in a server's form."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.forms import Script
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from monitoring import pausing
from monitoring.admin.said import say_count
from monitoring.admin.source_form import SourceForm, field_name
from monitoring.collectors.options import form_fields, needs_of
from monitoring.models import Collector, Server, Source
from portal.toolkit.audit import AuditedAdmin
from portal.toolkit.sentence import say

COLLECT_NOW = gettext_noop("Asked to collect now.")
MODEL_FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    Collector.PROMETHEUS: (("sample_limit", "keep_everything"),),
}
"""Columns of their own that only some collectors look at."""


def collector_fieldsets() -> tuple[Any, ...]:
    """One for each collector that asks for anything; a script shows that of the chosen one."""
    found = []
    for collector in Collector:
        needs = needs_of(collector.value)
        options = [field_name(collector.value, name) for name in form_fields(needs.options)]
        fields = (*options, *MODEL_FIELDS.get(collector, ()))
        if fields or needs.says:
            classes = ("for-collector", f"for-{collector.value}")
            found.append((collector.label, {"fields": fields, "classes": classes, "description": needs.says}))
    return tuple(found)


class SourceInline(admin.StackedInline):  # type: ignore[type-arg]
    model = Source
    form = SourceForm
    extra = 0
    fieldsets = (
        (None, {"fields": ("collector", "url", ("secret", "forget_secret"), ("interval_s", "timeout_s"), "paused")}),
        *collector_fieldsets(),
        (None, {"fields": (("ok_at", "failures", "error_at", "last_error"),)}),
    )
    readonly_fields = ("ok_at", "failures", "error_at", "last_error")
    show_change_link = True

    class Media:
        js = (Script("js/admin-source.js", type="module"),)

    @admin.display(description=_("last error"))
    def last_error(self, source: Source) -> str:
        return say(source.error)

    def get_extra(self, request: HttpRequest, obj: Server | None = None, **kwargs: Any) -> int:
        """A new server is usually added to read something: the form for it is open."""
        return 1 if obj is None else 0


@admin.register(Source)
class SourceAdmin(AuditedAdmin):
    form = SourceForm
    list_display = ("server", "collector", "url", "interval_s", "paused", "ok_at", "failures", "last_error")
    list_display_links = ("server", "url")
    list_filter = ("collector", "paused")
    list_select_related = ("server",)
    search_fields = ("server__name", "url")
    ordering = ("server__name", "collector", "url")
    main = ("server", "collector", "url", ("secret", "forget_secret"), ("interval_s", "timeout_s"), "paused")
    facts = (("ok_at", "samples", "duration_ms"), ("failures", "error_at"), "last_error")
    readonly_fields = ("ok_at", "samples", "duration_ms", "failures", "error_at", "last_error")
    raw_id_fields = ("server",)
    actions = ("pause", "resume", "collect_now")

    class Media:
        js = (Script("js/admin-source.js", type="module"),)

    def get_fieldsets(self, request: HttpRequest, obj: Source | None = None) -> Any:
        went = ((_("How it went"), {"fields": self.facts}),) if obj is not None else ()
        return ((None, {"fields": self.main}), *collector_fieldsets(), *went)

    @admin.display(description=_("last error"), ordering="error_at")
    def last_error(self, source: Source) -> str:
        return say(source.error)

    @admin.action(description=_("Pause"), permissions=["change"])
    def pause(self, request: HttpRequest, chosen: QuerySet[Source]) -> None:
        sources = list(chosen.filter(paused=False))
        self.change_selected(request, sources, {"paused": True}, pausing.PAUSED)
        say_count(request, len(sources), "%(count)d source paused.", "%(count)d sources paused.")

    @admin.action(description=_("Resume"), permissions=["change"])
    def resume(self, request: HttpRequest, chosen: QuerySet[Source]) -> None:
        sources = list(chosen.filter(paused=True))
        self.change_selected(request, sources, {"paused": False}, pausing.RESUMED)
        say_count(request, len(sources), "%(count)d source resumed.", "%(count)d sources resumed.")

    @admin.action(description=_("Collect now"), permissions=["change"])
    def collect_now(self, request: HttpRequest, chosen: QuerySet[Source]) -> None:
        """The next beat tick finds them due, whatever back-off they were in."""
        sources = list(chosen.filter(paused=False, server__paused=False))
        Source.objects.filter(pk__in=[source.pk for source in sources]).update(due_at=Now())
        self.log_selected(request, sources, COLLECT_NOW)
        say_count(request, len(sources), "%(count)d source is read next.", "%(count)d sources are read next.")
