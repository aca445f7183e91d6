"""Read tokens in the admin: the text is shown once, right after it was made."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.db.models import ForeignKey
from django.forms import ModelChoiceField, ModelForm
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from portal.accounts import tokens
from portal.accounts.models import ReadToken, User
from portal.toolkit.audit import AuditedAdmin, person_of
from portal.toolkit.shown_once import Command, Shown, shown_once


@admin.register(ReadToken)
class ReadTokenAdmin(AuditedAdmin):
    """A superuser makes tokens for anybody, other staff for themselves only: a token sees what its person may see."""

    list_display = ("name", "person", "hint", "enabled", "expires_at", "used_at", "used_from")
    list_filter = ("enabled",)
    list_select_related = ("person",)
    search_fields = ("name", "person__username")
    fields = ("name", "person", "enabled", "expires_at", "hint", "created_at", "used_at", "used_from")
    readonly_fields = ("hint", "created_at", "used_at", "used_from")

    def get_fields(self, request: HttpRequest, obj: ReadToken | None = None) -> tuple[str, ...]:
        return self.fields if obj else ("name", "person", "expires_at")

    def get_readonly_fields(self, request: HttpRequest, obj: ReadToken | None = None) -> tuple[str, ...]:
        return ("person", *self.readonly_fields) if obj else self.readonly_fields

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> ModelChoiceField[Any] | None:
        if db_field.name == "person":
            people = User.objects.filter(is_active=True)
            kwargs["queryset"] = people if request.user.is_superuser else people.filter(pk=person_of(request).pk)
            kwargs["initial"] = request.user.pk
        field: ModelChoiceField[Any] | None = super().formfield_for_foreignkey(db_field, request, **kwargs)
        return field

    def has_change_permission(self, request: HttpRequest, obj: ReadToken | None = None) -> bool:
        return super().has_change_permission(request, obj) and _is_theirs(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: ReadToken | None = None) -> bool:
        return super().has_delete_permission(request, obj) and _is_theirs(request, obj)

    def save_model(self, request: HttpRequest, obj: ReadToken, form: ModelForm[Any], change: bool) -> None:
        if not change:
            request.META["made_read_token"] = tokens.give_text(obj)
        super().save_model(request, obj, form, change)

    def response_add(self, request: HttpRequest, obj: ReadToken, post_url_continue: str | None = None) -> HttpResponse:
        """The token and a command to copy, instead of a redirect: nothing keeps the text for another page."""
        text = request.META["made_read_token"]
        command = f'curl -H "Authorization: Bearer {text}" {settings.PORTAL_URL}/api/dashboard'
        to_copy = Command(_("A first question, to copy:"), command)
        return shown_once(request, self, [Shown(obj.name, text, [to_copy])])


def _is_theirs(request: HttpRequest, token: ReadToken | None) -> bool:
    person = person_of(request)
    return token is None or person.is_superuser or token.person_id == person.pk
