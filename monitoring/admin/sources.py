"""What is read, and how often: on its own list and in a server's form."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from monitoring import pausing
from monitoring.admin.said import say_count
from monitoring.models import Server, Source
from portal.toolkit.audit import AuditedAdmin

COLLECT_NOW = gettext_noop("Asked to collect now.")


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
