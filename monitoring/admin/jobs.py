"""Jobs that are expected to say that they ran."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from monitoring.ingest import heartbeat
from monitoring.models import Job
from portal.toolkit.audit import AuditedAdmin

EDITED = ("name", "server", "period_s", "grace_s", "paused", "recorded_at")


@admin.register(Job)
class JobAdmin(AuditedAdmin):
    list_display = ("name", "server", "how_it_is", "pinged_at", "failed_at", "period_s", "paused")
    list_filter = ("paused",)
    list_select_related = ("server",)
    search_fields = ("name", "server__name")
    ordering = ("name",)
    autocomplete_fields = ("server",)
    fields = ("name", "server", ("period_s", "grace_s"), "paused")
    facts = ("command", "how_it_is", ("started_at", "pinged_at", "failed_at"), ("exit_code", "said"))
    readonly_fields = ("command", "how_it_is", "started_at", "pinged_at", "failed_at", "exit_code", "said")

    def get_fields(self, request: HttpRequest, obj: Job | None = None) -> tuple[Any, ...]:
        return self.fields if obj is None else (*self.fields, *self.facts)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        jobs: QuerySet[Job] = super().get_queryset(request)
        return jobs.select_related("server")

    @admin.display(description=_("at the end of the job"))
    def command(self, job: Job) -> SafeString:
        address = f"{settings.PORTAL_URL}/ping/{job.uuid}"
        return format_html('<code class="to-copy">curl -fsS -m 10 --retry 5 {}/$?</code>', address)

    @admin.display(description=_("state"))
    def how_it_is(self, job: Job) -> str:
        if job.paused:
            return _t("Paused")
        if heartbeat.overdue_s(job, timezone.now()):
            return _t("Overdue")
        if heartbeat.has_failed(job):
            return _t("Failed")
        return _t("In time") if job.pinged_at else _t("Waiting for the first run")

    def save_model(self, request: HttpRequest, obj: Job, form: ModelForm[Any], change: bool) -> None:
        """What the job does meanwhile is not written over; what it is now is recorded at the next tick."""
        obj.recorded_at = None
        obj.save(update_fields=EDITED if change else None)
