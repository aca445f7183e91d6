"""Who is told: rotas with their people and stand-ins, and who has it now and next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from alerts.admin.reach import groups_without_rota
from alerts.admin.show import NAMED, bullets, name_instants, names, table
from alerts.models import Rota, RotaMember, StandIn
from alerts.oncall import OnCall, Roster, handovers
from alerts.timeline import name_of
from monitoring.models import ServerGroup
from portal.toolkit.audit import AuditedAdmin
from portal.toolkit.instants import zone_named
from portal.toolkit.sentence import say

DAYS_AHEAD = 28
HANDOVERS_SHOWN = 8


def _zones() -> list[tuple[str, str]]:
    places = sorted(zone for zone in available_timezones() if "/" in zone and not zone.startswith(("Etc/", "System")))
    return [("UTC", "UTC"), *((zone, zone) for zone in places)]


class RotaForm(forms.ModelForm):  # type: ignore[type-arg]
    time_zone = forms.ChoiceField(label=_("Time zone"), choices=_zones, initial="UTC")


class StandInForm(forms.ModelForm):  # type: ignore[type-arg]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name_instants(self, "starts_at", "ends_at")


class MemberInline(admin.StackedInline):  # type: ignore[type-arg]
    model = RotaMember
    extra = 0
    fields = (("person", "position"),)

    def get_extra(self, request: HttpRequest, obj: Rota | None = None, **kwargs: Any) -> int:
        return 1 if obj is None else 0


class StandInInline(admin.StackedInline):  # type: ignore[type-arg]
    model = StandIn
    form = StandInForm
    extra = 0
    fields = ("person", ("starts_at", "ends_at"))


@admin.register(Rota)
class RotaAdmin(AuditedAdmin):
    form = RotaForm
    list_display = ("__str__", "rotation", "on_call_now", "member_count", "least_level")
    list_select_related = ("group",)
    search_fields = ("group__name", "members__person__username")
    ordering = ("group__name",)
    fieldsets = (
        (None, {"fields": ("group", ("rotation", "least_level"))}),
        (_("Turns"), {"fields": (("handover", "handover_day"), ("starts_on", "time_zone"))}),
    )
    facts = (_("Who has it"), {"classes": ("beside",), "fields": ("now", "worth_a_look", "next")})
    readonly_fields = ("now", "worth_a_look", "next")
    inlines = (MemberInline, StandInInline)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rota]:
        rotas: QuerySet[Rota] = super().get_queryset(request)
        return rotas.select_related("group").annotate(member_count=Count("members", distinct=True))

    def get_fieldsets(self, request: HttpRequest, obj: Rota | None = None) -> Any:
        return (*self.fieldsets, *([self.facts] if obj else []))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        zone = timezone.get_current_timezone_name()
        today = timezone.localdate()
        return {"time_zone": zone, "starts_on": today, **super().get_changeform_initial_data(request)}

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Says which groups nobody is told about."""
        if not Rota.objects.filter(group=None).exists() and (unserved := groups_without_rota()):
            text = _t("No rota serves these groups, nobody is mailed about their servers: %(groups)s.")
            self.message_user(request, text % {"groups": names(unserved)}, messages.WARNING)
        page: HttpResponse = super().changelist_view(request, extra_context)
        return page

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The people are known only now."""
        super().save_related(request, form, formsets, change)
        now = timezone.now()
        for doubt in doubts_of(form.instance, Roster.load(now)):
            self.message_user(request, doubt, messages.WARNING)

    @admin.display(description=_("people"), ordering="member_count")
    def member_count(self, rota: Rota) -> int:
        return rota.member_count  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("on call now"))
    def on_call_now(self, rota: Rota) -> str:
        """Of the first row the roster of all is read, once a page."""
        unheard = _t("%(name)s (cannot be mailed)")
        people = self._roster(rota).on_call(rota.group_id)
        return ", ".join(one.name if one.address else unheard % {"name": one.name} for one in people) or _t("nobody")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        roster = Roster.load(timezone.now())
        page.result_list = list(page.result_list)
        for rota in page.result_list:
            rota.roster = roster
        return page

    def _roster(self, rota: Rota) -> Roster:
        """Read once a page; the object is made anew for each."""
        known: Roster | None = rota.__dict__.get("roster")
        if known is None:
            known = rota.__dict__["roster"] = Roster.load(timezone.now())
        return known

    @admin.display(description=_("Now"))
    def now(self, rota: Rota) -> SafeString | str:
        roster = self._roster(rota)
        if rota.group_id is not None:
            return _people(roster.on_call(rota.group_id))
        served = _served(rota)
        if not served:
            return _people(roster.on_call(None))
        lines = (format_html("{}: {}", group, _people(roster.on_call(group.pk))) for group in served[:NAMED])
        return bullets(lines)

    @admin.display(description=_("Worth a look"))
    def worth_a_look(self, rota: Rota) -> SafeString | str:
        doubts = list(doubts_of(rota, self._roster(rota)))
        return format_html('<div class="is-doubt">{}</div>', bullets(doubts)) if doubts else _t("Nothing.")

    @admin.display(description=_("The next four weeks"))
    def next(self, rota: Rota) -> SafeString | str:
        zone = zone_named(rota.time_zone)
        turns = handovers(rota, timezone.now(), DAYS_AHEAD)[:HANDOVERS_SHOWN]
        rows = ((name_of(person), _clock(at, zone)) for at, person in turns)
        return table(rows) if turns else _t("nobody")


def doubts_of(rota: Rota, roster: Roster) -> Iterator[str]:
    """Why a mail may reach nobody. One query when it serves every other group."""
    line = roster.line(rota.group_id)
    if not line:
        yield _t("Nobody is in it: nothing is mailed.")
        return
    for one in line:
        if one.trouble:
            yield f"{one.name}: {say(one.trouble)}"
    unheard = [group.name for group in _served(rota) if not any(one.address for one in roster.line(group.pk))]
    if unheard and any(one.address for one in line):
        text = _t("None of them may see the servers of these groups, and is not mailed about them: %(groups)s.")
        yield text % {"groups": names(unheard)}


def _served(rota: Rota) -> list[ServerGroup]:
    """Of the rota for the rest: the groups with servers that have none of their own. One query."""
    if rota.group_id is not None:
        return []
    return list(ServerGroup.objects.filter(rota=None, servers__isnull=False).distinct().order_by("name"))


def _people(people: Sequence[OnCall]) -> SafeString | str:
    lines = [f"{one.name} {one.address}".strip() + (f" · {say(one.trouble)}" if one.trouble else "") for one in people]
    return bullets(lines) if lines else _t("nobody")


def _clock(at: datetime, zone: ZoneInfo) -> str:
    return f"{timezone.localtime(at, zone):%Y-%m-%d %H:%M} {zone.key}"
