"""How long history is kept, by group, with what there is of it now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from monitoring.history.kept import by_settings
from monitoring.history.sizes import Sizes, oldest_sample, sizes
from monitoring.models import KEPT, LOGS, Retention, Server
from portal.toolkit.audit import AuditedAdmin
from portal.toolkit.quantity import NOTHING, quantity

MB = 2**20


@admin.register(Retention)
class RetentionAdmin(AuditedAdmin):
    list_display = ("__str__", *KEPT, LOGS, "server_count")
    list_select_related = ("group",)
    ordering = ("group__name",)
    fieldsets = ((None, {"fields": ("group", KEPT, LOGS)}),)
    facts = (_("What there is now"), {"classes": ("beside",), "fields": ("holds_for", "on_disk", "a_day", "oldest")})
    readonly_fields = ("holds_for", "on_disk", "a_day", "oldest")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Retention]:
        rows: QuerySet[Retention] = super().get_queryset(request)
        return rows.select_related("group")

    def get_fieldsets(self, request: HttpRequest, obj: Retention | None = None) -> Any:
        return (*self.fieldsets, *([self.facts] if obj else []))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {**_by_settings(), **super().get_changeform_initial_data(request)}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Says what holds where nobody said anything."""
        if not Retention.objects.filter(group=None).exists():
            text = _t(
                "Groups without a row of their own keep samples for %(samples)d days, roll-ups by 1 min for"
                " %(minutes)d, by 15 min for %(quarters)d and by 1 h for %(hours)d, and lines of logs for %(logs)d, as"
                " the settings say."
            )
            days = {**by_settings()._asdict(), "logs": settings.RETENTION_LOGS_DAYS}
            self.message_user(request, text % days, messages.INFO)
        page: HttpResponse = super().changelist_view(request, extra_context)
        return page

    def save_model(self, request: HttpRequest, obj: Retention, form: ModelForm[Retention], change: bool) -> None:
        before = _days(Retention.objects.get(pk=obj.pk)) if change else list(_by_settings().values())
        super().save_model(request, obj, form, change)
        for doubt in doubts_of(obj, before):
            self.message_user(request, doubt, messages.WARNING)

    @admin.display(description=_("servers"))
    def server_count(self, row: Retention) -> int:
        return _servers_of(row).count()

    @admin.display(description=_("holds for"))
    def holds_for(self, row: Retention) -> str:
        count = _servers_of(row).count()
        return ngettext("%(count)d server", "%(count)d servers", count) % {"count": count}

    @admin.display(description=_("on the disk, of all groups"))
    def on_disk(self, row: Retention) -> SafeString:
        return _table(_on_disk(sizes()))

    @admin.display(description=_("the newest whole day, of all groups"))
    def a_day(self, row: Retention) -> SafeString:
        return _table(_of_a_day(sizes()))

    @admin.display(description=_("oldest sample of these servers"))
    def oldest(self, row: Retention) -> str:
        at = oldest_sample(list(_servers_of(row).values_list("pk", flat=True)))
        if at is None:
            return NOTHING
        local = timezone.localtime(at)
        return f"{date_format(local, 'Y-m-d H:i')} {local.tzname()}"


def doubts_of(row: Retention, before: list[int]) -> Iterator[str]:
    """What may not be meant about a row that was just saved; `before` are the days that held until then."""
    now = _days(row)
    count = _servers_of(row).count()
    if count and any(days < was for days, was in zip(now, before, strict=True)):
        text = ngettext(
            "What is older leaves within the hour, of %(count)d server, and does not come back.",
            "What is older leaves within the hour, of %(count)d servers, and does not come back.",
            count,
        )
        yield text % {"count": count}
    if any(days > was for days, was in zip(now, before, strict=True)):
        yield _t("It is kept for longer from now on; what has left already does not come back.")
    if count == 0:
        yield _t("It holds for no server yet.")
    day_bytes = sizes().day_bytes
    if day_bytes and now[0] > 2 * by_settings().samples:
        text = _t("At today's rate the samples of all groups would take %(size)s in %(days)d days.")
        yield text % {"size": quantity(day_bytes * now[0] / MB, "MB"), "days": now[0]}


def _days(row: Retention) -> list[int]:
    return [getattr(row, name) for name in (*KEPT, LOGS)]


def _by_settings() -> dict[str, int]:
    return {**dict(zip(KEPT, by_settings(), strict=True)), LOGS: settings.RETENTION_LOGS_DAYS}


def _servers_of(row: Retention) -> QuerySet[Server]:
    if row.group_id:
        return Server.objects.filter(group=row.group_id)
    return Server.objects.exclude(group__in=Retention.objects.exclude(group=None).values("group"))


def _on_disk(found: Sizes) -> Iterator[tuple[str, str]]:
    yield _t("samples, packed"), quantity(found.cold / MB, "MB")
    yield _t("samples, the last hours"), quantity(found.warm / MB, "MB")
    names = {60: _t("1 min roll-ups"), 900: _t("15 min roll-ups"), 3600: _t("1 h roll-ups")}
    for step_s, name in names.items():
        yield name, quantity(found.tiers.get(step_s, 0) / MB, "MB")
    yield _t("logs"), quantity(found.logs / MB, "MB")


def _of_a_day(found: Sizes) -> Iterator[tuple[str, str]]:
    yield _t("samples"), f"{found.day_samples:,}" if found.day_samples else NOTHING
    yield _t("packed"), quantity(found.day_bytes / MB, "MB") if found.day_samples else NOTHING
    each = found.bytes_per_sample
    yield _t("bytes a sample"), NOTHING if each is None else f"{each:.2f}"


def _table(rows: Iterable[tuple[str, str]]) -> SafeString:
    body = format_html_join("", "<tr><th scope='row'>{}</th><td class='number'>{}</td></tr>", rows)
    return format_html("<table class='facts'>{}</table>", body)
