"""Server groups and their members."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from monitoring.models import Membership, ServerGroup
from portal.toolkit.audit import AuditedAdmin


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
