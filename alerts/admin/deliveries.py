"""What was sent, what waits and what was given up; and the addresses that refused a mail for good."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import AbstractUser
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext

from alerts import tasks
from alerts.models import Bounce, Delivery, DeliveryKind, DeliveryStatus, Entry, Incident, What
from alerts.timeline import announce, note, write
from alerts.wake import wake
from portal.toolkit.audit import person_of
from portal.toolkit.read_only_admin import ReadOnlyAdmin
from portal.toolkit.sentence import say

TRIED_AGAIN = gettext_noop("Tried again by an admin.")


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "tells", "address", "status", "said", "due", "about")
    list_filter = ("status", "kind", "level")
    list_select_related = ("incident",)
    search_fields = ("address", "person_name", "incident__server_name", "answer")
    fields = (
        ("kind", "level", "status"),
        ("person_name", "address", "language", "time_zone"),
        ("created_at", "attempts", "next_attempt_at", "ended_at"),
        "whole_answer",
        "key",
        "about",
    )
    ordering = ("-created_at", "-pk")
    actions = ("try_again",)

    @admin.display(description=_("tells"), ordering="kind")
    def tells(self, delivery: Delivery) -> str:
        return f"{delivery.get_kind_display()} · {delivery.get_level_display()}"

    @admin.display(description=_("next attempt"), ordering="next_attempt_at")
    def due(self, delivery: Delivery) -> Any:
        return delivery.next_attempt_at if delivery.status == DeliveryStatus.QUEUED else None

    @admin.display(description=_("answer"))
    def said(self, delivery: Delivery) -> str:
        return say(delivery.answer)[:80]

    @admin.display(description=_("answer of the mail server"))
    def whole_answer(self, delivery: Delivery) -> str:
        return say(delivery.answer)

    @admin.display(description=_("incident"))
    def about(self, delivery: Delivery) -> SafeString:
        return format_html('<a href="{}">{}</a>', delivery.incident.get_absolute_url(), delivery.incident)

    def has_try_permission(self, request: HttpRequest) -> bool:
        """Rows are nobody's to edit; who may change deliveries may send them on their way."""
        return bool(request.user.has_perm("alerts.change_delivery"))

    @admin.action(description=_("Try again now"), permissions=["try"])
    def try_again(self, request: HttpRequest, chosen: QuerySet[Delivery]) -> None:
        """What waits and what was given up, but no alarm about what is over by now: nobody would tell of its end."""
        asked = chosen.filter(status__in=[DeliveryStatus.QUEUED, DeliveryStatus.DEAD]).count()
        count = _try_again(request, chosen)
        said = ngettext("%(count)d mail is tried again now.", "%(count)d mails are tried again now.", count)
        self.message_user(request, said % {"count": count}, messages.SUCCESS if count else messages.INFO)
        if asked > count:
            said = ngettext(
                "%(count)d is left alone: what it tells of is over.",
                "%(count)d are left alone: what they tell of is over.",
                asked - count,
            )
            self.message_user(request, said % {"count": asked - count}, messages.WARNING)


@transaction.atomic
def _try_again(request: HttpRequest, chosen: QuerySet[Delivery]) -> int:
    """Due now; with a line on the incident and in the log. Whoever sends one at this moment keeps their lease."""
    now, by = timezone.now(), person_of(request)
    asked = set(chosen.values_list("pk", flat=True))
    # The incident's lock first, as everyone does who writes about it: it cannot end meanwhile.
    about = Delivery.objects.filter(pk__in=asked).order_by().values("incident")
    list(Incident.objects.select_for_update(of=["self"]).filter(pk__in=about).order_by("pk"))
    wanted = Delivery.objects.filter(pk__in=asked).filter(
        Q(status=DeliveryStatus.QUEUED)
        | Q(status=DeliveryStatus.DEAD, kind=DeliveryKind.RECOVERED)
        | Q(status=DeliveryStatus.DEAD, incident__resolved_at=None)
    )
    rows = list(wanted.select_related("incident", "person").select_for_update(of=["self"]))
    Delivery.objects.filter(pk__in=[row.pk for row in rows]).update(
        status=DeliveryStatus.QUEUED, next_attempt_at=now, ended_at=None
    )
    write([_line(row, now, by) for row in rows])
    if rows:
        LogEntry.objects.log_actions(by.pk, rows, CHANGE, TRIED_AGAIN)
        announce([row.incident_id for row in rows])
        wake(tasks.deliver_task)
    return len(rows)


def _line(row: Delivery, now: datetime, by: AbstractUser) -> Entry:
    return note(row.incident, What.QUEUED, now, by=by, about=row.person, about_name=row.person_name, text=TRIED_AGAIN)


@admin.register(Bounce)
class BounceAdmin(ReadOnlyAdmin):
    """Deleting one forgets it: the address is no longer warned about."""

    list_display = ("address", "at", "answer")
    search_fields = ("address", "answer")
    fields = ("address", "at", "answer")

    def has_delete_permission(self, request: HttpRequest, obj: Bounce | None = None) -> bool:
        return bool(request.user.has_perm("alerts.delete_bounce"))
