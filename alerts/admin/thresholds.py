"""Thresholds in the admin: limits for a scope, who they are for, and what they do right now."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from alerts.admin.doubts import doubts_of
from alerts.admin.reach import Reach, as_kept, decided_series, firing_problems, reach_of, worst_values
from alerts.admin.reasoned import ReasonedAdmin
from alerts.admin.show import (
    NOTHING,
    admin_link,
    bullets,
    limit_words,
    links,
    metric_words,
    moment,
    silence_words,
    table,
)
from alerts.admin.threshold_form import ThresholdForm
from alerts.models import Problem, Threshold
from portal.toolkit.quantity import duration, quantity

PROBLEMS_SHOWN = 10
SENDING: dict[str, Any] = {
    "type": "module",
    "data-form": "threshold_form",
    "data-sending": _("On its way …"),
    "data-failed": _("The portal did not answer. What you typed is still here: save it again."),
    "data-refused": _("You may not change this, or your session has ended. What you typed is still here."),
}
"""What static/js/admin-send.js says."""


class OverriddenFilter(admin.SimpleListFilter):
    title = _("overridden")
    parameter_name = "overridden"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", _t("Yes")), ("0", _t("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Threshold]) -> QuerySet[Threshold]:
        ahead = queryset.filter(override_until__gt=timezone.now())
        if self.value() == "1":
            return ahead
        return queryset.exclude(pk__in=ahead.order_by().values("pk")) if self.value() == "0" else queryset


class ThresholdList(ChangeList):
    """A page of thresholds that know how many series they decide and how many problems of theirs fire: two queries."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        decides, firing = decided_series(self.result_list), firing_problems(self.result_list)
        for threshold in self.result_list:
            threshold.decides, threshold.firing = decides.get(threshold.pk, 0), firing.get(threshold.pk, 0)


@admin.register(Threshold)
class ThresholdAdmin(ReasonedAdmin):
    form = ThresholdForm
    list_display = (
        "metric_name",
        "for_whom",
        "limits_now",
        "decides",
        "firing",
        "lasting",
        "no_data",
        "enabled",
        "overridden",
    )
    list_filter = ("enabled", OverriddenFilter, "direction", "scope", ("metric", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("metric", "group", "server")
    search_fields = ("metric__name", "metric__label", "server__name", "group__name", "kind")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("metric", "direction"),
                    ("scope", "kind", "group", "server"),
                    "enabled",
                )
            },
        ),
        (_("Limits"), {"fields": (("warning", "critical", "clear"), "for_s")}),
        (_("No data"), {"fields": (("no_data_after_s", "no_data_level"),)}),
        (_("Other limits for a while"), {"fields": (("override_until", "override_warning", "override_critical"),)}),
    )
    why = (_("Why"), {"fields": ("change_reason",)})
    facts = (
        _("What it does now"),
        {
            "classes": ("beside",),
            "fields": ("in_words", "worth_a_look", "for_servers", "beaten_by", "beats", "newest", "open_problems"),
        },
    )
    readonly_fields = ("in_words", "worth_a_look", "for_servers", "beaten_by", "beats", "newest", "open_problems")
    raw_id_fields = ("server",)
    actions = ("enable", "disable", "delete_chosen")

    class Media:
        js = (Script("js/admin-scope.js", type="module"), Script("js/admin-send.js", **SENDING))

    # The list
    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ThresholdList

    @admin.display(description=_("metric"), ordering="metric__label")
    def metric_name(self, threshold: Threshold) -> str:
        return metric_words(threshold)

    @admin.display(description=_("for whom"), ordering="scope")
    def for_whom(self, threshold: Threshold) -> str:
        return threshold.target

    @admin.display(description=_("limits"))
    def limits_now(self, threshold: Threshold) -> str:
        return limit_words(threshold, threshold.warning, threshold.critical)

    @admin.display(description=_("for"), ordering="for_s")
    def lasting(self, threshold: Threshold) -> str:
        return duration(threshold.for_s) if threshold.for_s else _t("at once")

    @admin.display(description=_("no data"), ordering="no_data_after_s")
    def no_data(self, threshold: Threshold) -> str:
        return silence_words(threshold)

    @admin.display(description=_("overridden until"), ordering="override_until")
    def overridden(self, threshold: Threshold) -> str:
        return moment(threshold.override_until) if threshold.is_overridden(timezone.now()) else NOTHING

    @admin.display(description=_("series"))
    def decides(self, threshold: Threshold) -> int:
        return threshold.decides  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("firing"))
    def firing(self, threshold: Threshold) -> SafeString | str:
        count: int = threshold.firing  # type: ignore[attr-defined]
        return format_html('<strong class="is-firing">{}</strong>', count) if count else "0"

    # One of them
    def get_queryset(self, request: HttpRequest) -> QuerySet[Threshold]:
        thresholds: QuerySet[Threshold] = super().get_queryset(request)
        return thresholds.select_related("metric", "group", "server")

    def get_fieldsets(self, request: HttpRequest, obj: Threshold | None = None) -> Any:
        """Only who may change it is asked why; what it does now is known once it is there."""
        may = self.has_add_permission(request) if obj is None else self.has_change_permission(request, obj)
        there = obj is not None and Threshold.objects.filter(pk=obj.pk).exists()
        return (*self.fieldsets, *([self.why] if may else []), *([self.facts] if there else []))

    def save_model(self, request: HttpRequest, obj: Threshold, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        for doubt in doubts_of(obj, reach_of(obj), timezone.now()):
            self.message_user(request, doubt, messages.WARNING)

    def _reach(self, threshold: Threshold) -> Reach:
        """Worked out once a page; the object is made anew for each."""
        known: Reach | None = threshold.__dict__.get("_reach")
        if known is None:
            known = threshold.__dict__["_reach"] = reach_of(as_kept(threshold))
        return known

    @admin.display(description=_("In words"))
    def in_words(self, threshold: Threshold) -> SafeString:
        return bullets(_words(as_kept(threshold)))

    @admin.display(description=_("Worth a look"))
    def worth_a_look(self, threshold: Threshold) -> SafeString | str:
        doubts = doubts_of(as_kept(threshold), self._reach(threshold), timezone.now())
        return format_html('<div class="is-doubt">{}</div>', bullets(doubts)) if doubts else _t("Nothing.")

    @admin.display(description=_("Its servers"))
    def for_servers(self, threshold: Threshold) -> SafeString:
        reach = self._reach(threshold)
        counted = _t("%(covered)d in its scope, %(measuring)d measure it, for %(decided)d it decides:") % {
            "covered": reach.covered,
            "measuring": len(reach.measuring),
            "decided": len(reach.decided),
        }
        return format_html("{} {}", counted, links(reach.decided) or NOTHING)

    @admin.display(description=_("A narrower one wins"))
    def beaten_by(self, threshold: Threshold) -> SafeString | str:
        beaten = self._reach(threshold).beaten
        return (
            bullets(format_html("{}: {}", admin_link(one.by, one.by.target), links(one.servers)) for one in beaten)
            if beaten
            else _t("for none of them")
        )

    @admin.display(description=_("Wider ones that it beats"))
    def beats(self, threshold: Threshold) -> SafeString | str:
        return links(self._reach(threshold).wider) or _t("none")

    @admin.display(description=_("Newest values, worst first"))
    def newest(self, threshold: Threshold) -> SafeString | str:
        threshold, reach = as_kept(threshold), self._reach(threshold)
        values = worst_values(threshold, reach.decided)
        rows = [
            (admin_link(server, f"{server} {reading.labels}".strip()), quantity(reading.value, threshold.metric.unit))
            for server, reading in values
        ]
        return table(rows) if rows else _t("No data has arrived yet.")

    @admin.display(description=_("Open problems"))
    def open_problems(self, threshold: Threshold) -> SafeString | str:
        problems = Problem.objects.filter(threshold=threshold, resolved_at=None).select_related("incident", "series")
        lines = [
            format_html(
                '<a href="{}"><bdi>{}</bdi></a>: {}, {}',
                problem.incident.get_absolute_url(),
                problem.incident,
                problem.get_condition_display(),
                problem.get_status_display(),
            )
            for problem in problems[:PROBLEMS_SHOWN]
        ]
        return bullets(lines) if lines else _t("none")

    # Actions
    @admin.action(description=_("Enable…"), permissions=["change"])
    def enable(self, request: HttpRequest, chosen: QuerySet[Threshold]) -> HttpResponse | None:
        return self._switch(request, chosen, True)

    @admin.action(description=_("Disable…"), permissions=["change"])
    def disable(self, request: HttpRequest, chosen: QuerySet[Threshold]) -> HttpResponse | None:
        return self._switch(request, chosen, False)

    def _switch(self, request: HttpRequest, chosen: QuerySet[Threshold], on: bool) -> HttpResponse | None:
        rows = list(chosen.filter(enabled=not on))
        word = _t("Enable") if on else _t("Disable")
        act = partial(self._switched, request, rows, on)
        return self.with_reason(request, rows, act, title=word, submit=word)

    def _switched(self, request: HttpRequest, rows: list[Threshold], on: bool, reason: str) -> str:
        self.change_selected(request, rows, {"enabled": on}, reason)
        if on:
            said = ngettext("%(count)d threshold enabled.", "%(count)d thresholds enabled.", len(rows))
        else:
            said = ngettext("%(count)d threshold disabled.", "%(count)d thresholds disabled.", len(rows))
        return said % {"count": len(rows)}

    @admin.action(description=_("Delete…"), permissions=["delete"])
    def delete_chosen(self, request: HttpRequest, chosen: QuerySet[Threshold]) -> HttpResponse | None:
        rows = list(chosen)

        def act(reason: str) -> str:
            count = len(rows)
            self.delete_rows(request, rows, reason)
            return ngettext("%(count)d threshold deleted.", "%(count)d thresholds deleted.", count) % {"count": count}

        return self.with_reason(request, rows, act, title=_t("Delete"), submit=_t("Delete"), grave=True)


def _words(threshold: Threshold) -> Iterator[str]:
    """The rule as one would say it."""
    limits = limit_words(threshold, threshold.warning, threshold.critical)
    yield f"{metric_words(threshold)} · {threshold.target}: {limits}"
    if threshold.for_s:
        yield _t("It must last %(time)s.") % {"time": duration(threshold.for_s)}
    if threshold.clear is not None:
        yield _t("It is over at %(clear)s.") % {"clear": quantity(threshold.clear, threshold.metric.unit)}
    if threshold.no_data_after_s is not None:
        yield _t("No data: %(silence)s.") % {"silence": silence_words(threshold)}
    if threshold.is_overridden(timezone.now()):
        yield _override_words(threshold)


def _override_words(threshold: Threshold) -> str:
    until = {"until": moment(threshold.override_until)}
    if threshold.override_warning is None and threshold.override_critical is None:
        return _t("Until %(until)s it does not alert, whatever the value is.") % until
    limits = limit_words(threshold, threshold.override_warning, threshold.override_critical)
    return _t("Until %(until)s other limits count: %(limits)s.") % (until | {"limits": limits})
