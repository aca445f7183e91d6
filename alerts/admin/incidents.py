"""Incidents in the admin: to look up. What is done about one is done on its page."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, F, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from alerts.admin.show import bullets
from alerts.models import Incident
from monitoring.queries.samples import metric_label
from portal.toolkit.quantity import duration
from portal.toolkit.read_only_admin import ReadOnlyAdmin
from portal.toolkit.sentence import say

SHOWN = 20


@admin.register(Incident)
class IncidentAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "status", "level", "peak_level", "began_at", "lasted", "owner", "mails", "page")
    list_filter = ("status", "peak_level", "simulated", "group")
    list_select_related = ("server", "group", "acknowledged_by")
    search_fields = ("server_name", "problems__metric")
    fields = (
        ("server_name", "group", "simulated"),
        ("status", "level", "peak_level"),
        ("began_at", "fired_at", "resolved_at"),
        ("acknowledged_by", "acknowledged_at", "acknowledged_until"),
        "acknowledged_reason",
        ("page", "mails"),
        "problem_lines",
        "delivery_lines",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Incident]:
        incidents: QuerySet[Incident] = super().get_queryset(request)
        return incidents.annotate(mail_count=Count("deliveries", distinct=True))

    @admin.display(description=_("lasted"))
    def lasted(self, incident: Incident) -> str:
        if incident.resolved_at is None:
            return _t("open")
        return duration((incident.resolved_at - incident.began_at).total_seconds())

    @admin.display(description=_("owner"), ordering="acknowledged_by__username")
    def owner(self, incident: Incident) -> str:
        return str(incident.acknowledged_by or "")

    @admin.display(description=_("mails"), ordering="mail_count")
    def mails(self, incident: Incident) -> int:
        return incident.mail_count  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("page"))
    def page(self, incident: Incident) -> SafeString:
        return format_html('<a href="{}">{}</a>', incident.get_absolute_url(), _t("Open"))

    @admin.display(description=_("Problems"))
    def problem_lines(self, incident: Incident) -> SafeString:
        problems = incident.problems.order_by(F("resolved_at").desc(nulls_first=True), "level_rank", "pk")[:SHOWN]
        return bullets(
            f"{metric_label(one.metric)} {one.labels}".strip()
            + f": {one.get_condition_display()}, {one.get_status_display()}"
            for one in problems
        )

    @admin.display(description=_("Deliveries"))
    def delivery_lines(self, incident: Incident) -> SafeString:
        return bullets(
            f"{one}: {one.get_status_display()} {say(one.answer)}".strip() for one in incident.deliveries.all()[:SHOWN]
        )
