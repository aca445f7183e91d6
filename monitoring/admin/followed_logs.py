"""What the portal follows of logs by itself, and what it may not read."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from monitoring.models import FollowedLog
from portal.toolkit.read_only_admin import ReadOnlyAdmin
from portal.toolkit.sentence import say


@admin.register(FollowedLog)
class FollowedLogAdmin(ReadOnlyAdmin):
    """To look at: there is nothing to configure."""

    list_display = ("machine", "what", "lines", "read_at", "what_is_wrong")
    list_filter = ("what",)
    fields = readonly_fields = ("machine", "what", "lines", "read_at", "what_is_wrong")

    @admin.display(description=_("problem"))
    def what_is_wrong(self, followed: FollowedLog) -> str:
        return say(followed.problem)
