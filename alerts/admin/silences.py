"""Silences and maintenance windows in the admin."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Q, QuerySet
from django.forms import Script
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext

from alerts import silences
from alerts.admin.reach import as_kept, servers_of
from alerts.admin.show import bullets, links, moment, name_instants
from alerts.models import Incident, IncidentStatus, Scope, Silence
from portal.toolkit.audit import AuditedAdmin, person_of
from portal.toolkit.quantity import duration

LONG = timedelta(days=7)
INCIDENTS_SHOWN = 10
ENDED = gettext_noop("Ended from the list.")


class SilenceForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Silence
        fields = ("purpose", "scope", "kind", "group", "server", "metric", "reason", "starts_at", "ends_at")
        help_texts = {"ends_at": _("What still fires then is mailed then.")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_instants(self, "starts_at", "ends_at")


class WhenFilter(admin.SimpleListFilter):
    title = _("when")
    parameter_name = "when"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("now", _t("now")), ("later", _t("later")), ("over", _t("over"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Silence]) -> QuerySet[Silence]:
        now = timezone.now()
        wanted = {
            "now": Q(starts_at__lte=now, ends_at__gt=now),
            "later": Q(starts_at__gt=now),
            "over": Q(ends_at__lte=now),
        }.get(self.value() or "")
        return queryset.filter(wanted) if wanted else queryset


@admin.register(Silence)
class SilenceAdmin(AuditedAdmin):
    form = SilenceForm
    list_display = ("__str__", "metric", "state", "starts", "ends", "reason", "created_by")
    list_filter = (WhenFilter, "purpose", "scope", "group")
    list_select_related = ("metric", "group", "server", "created_by")
    search_fields = ("reason", "server__name", "group__name", "metric__name")
    fieldsets = (
        (None, {"fields": ("purpose", ("scope", "kind", "group", "server"), "metric", "reason")}),
        (_("When"), {"fields": (("starts_at", "ends_at"),)}),
    )
    facts = (
        _("What it does now"),
        {"classes": ("beside",), "fields": ("in_words", "its_servers", "held_back", "created_by", "created_at")},
    )
    readonly_fields = ("in_words", "its_servers", "held_back", "created_by", "created_at")
    raw_id_fields = ("server",)
    actions = ("end_now",)

    class Media:
        js = (Script("js/admin-scope.js", type="module"),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Silence]:
        found: QuerySet[Silence] = super().get_queryset(request)
        return found.select_related("metric", "group", "server", "created_by")

    def get_fieldsets(self, request: HttpRequest, obj: Silence | None = None) -> Any:
        there = obj is not None and Silence.objects.filter(pk=obj.pk).exists()
        return (*self.fieldsets, *([self.facts] if there else []))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        now = timezone.now().replace(second=0, microsecond=0)
        return {"starts_at": now, "ends_at": now + timedelta(hours=1), **super().get_changeform_initial_data(request)}

    # Whatever is done to a silence, the incidents are looked at again in the same transaction
    def save_model(self, request: HttpRequest, obj: Silence, form: Any, change: bool) -> None:
        now = timezone.now()
        if not change:
            obj.created_by_id = person_of(request).pk
        with transaction.atomic():
            super().save_model(request, obj, form, change)
            silences.reconcile(now, person_of(request))
        for doubt in _doubts(obj, now):
            self.message_user(request, doubt, messages.WARNING)

    def delete_model(self, request: HttpRequest, obj: Silence) -> None:
        with transaction.atomic():
            super().delete_model(request, obj)
            silences.reconcile(timezone.now(), person_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Silence]) -> None:
        with transaction.atomic():
            super().delete_queryset(request, queryset)
            silences.reconcile(timezone.now(), person_of(request))

    @admin.action(description=_("End now"), permissions=["change"])
    def end_now(self, request: HttpRequest, chosen: QuerySet[Silence]) -> None:
        """What still fires is mailed; one that has not begun is taken away."""
        now = timezone.now()
        ahead = list(chosen.filter(ends_at__gt=now))
        with transaction.atomic():
            self.log_selected(request, ahead, ENDED)
            for silence in ahead:
                silences.end(silence, person_of(request), now)
        said = ngettext("%(count)d silence ended.", "%(count)d silences ended.", len(ahead)) % {"count": len(ahead)}
        self.message_user(request, said, messages.SUCCESS if ahead else messages.INFO)

    @admin.display(description=_("state"))
    def state(self, silence: Silence) -> str:
        return _state(silence, timezone.now())

    @admin.display(description=_("starts"), ordering="starts_at")
    def starts(self, silence: Silence) -> str:
        return moment(silence.starts_at)

    @admin.display(description=_("ends"), ordering="ends_at")
    def ends(self, silence: Silence) -> str:
        return moment(silence.ends_at)

    @admin.display(description=_("In words"))
    def in_words(self, silence: Silence) -> SafeString:
        silence, now = as_kept(silence), timezone.now()
        return bullets([_state(silence, now), *_doubts(silence, now)])

    @admin.display(description=_("Its servers"))
    def its_servers(self, silence: Silence) -> SafeString:
        servers = list(servers_of(as_kept(silence)).order_by("name"))
        return format_html("{}: {}", len(servers), links(servers) or "–")

    @admin.display(description=_("Held back now"))
    def held_back(self, silence: Silence) -> SafeString | str:
        """Open incidents of which nobody is mailed because of it."""
        silence = as_kept(silence)
        if not silence.starts_at <= timezone.now() < silence.ends_at:
            return _t("nothing")
        fired = (IncidentStatus.FIRING, IncidentStatus.ACKNOWLEDGED)
        here = Incident.objects.filter(server__in=servers_of(silence), status__in=fired).select_related("server")
        held = [one for one in here[:INCIDENTS_SHOWN] if silences.covering(one, [silence])]
        lines = (format_html('<a href="{}"><bdi>{}</bdi></a>', one.get_absolute_url(), one) for one in held)
        return bullets(lines) if held else _t("nothing")


def _state(silence: Silence, now: datetime) -> str:
    if now < silence.starts_at:
        return _t("It begins %(at)s and lasts %(time)s.") % {
            "at": moment(silence.starts_at),
            "time": duration((silence.ends_at - silence.starts_at).total_seconds()),
        }
    if now < silence.ends_at:
        left = duration((silence.ends_at - now).total_seconds())
        return _t("Nobody is mailed until %(at)s, for %(time)s more.") % {"at": moment(silence.ends_at), "time": left}
    return _t("Over since %(at)s.") % {"at": moment(silence.ends_at)}


def _doubts(silence: Silence, now: datetime) -> list[str]:
    """What is allowed and probably not what somebody wants. One query."""
    if silence.ends_at <= now:
        return []
    doubts = []
    if silence.scope == Scope.ALL and silence.metric_id is None:
        doubts.append(_t("It covers everything: nobody is mailed about anything."))
    elif not servers_of(silence).exists():
        doubts.append(_t("There is no server in its scope."))
    if silence.ends_at - max(silence.starts_at, now) > LONG:
        doubts.append(_t("It lasts more than a week: a threshold for these servers may say it better."))
    return doubts
