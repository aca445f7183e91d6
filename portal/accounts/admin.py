"""People in the admin: added with a first password, given roles in server groups, switched off, never deleted."""

from __future__ import annotations

from typing import Any

import allauth.account.admin
import allauth.mfa.admin
import allauth.usersessions.admin  # noqa: F401  (all three register what is taken out below)
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop, ngettext

from monitoring.models import Membership
from portal.accounts import (
    addresses,
    read_token_admin,  # noqa: F401  (registers it)
)
from portal.accounts.forms import time_zone_choices
from portal.accounts.models import User
from portal.toolkit.audit import AuditedAdmin

admin.site.site_header = admin.site.site_title = "OpenManager"
admin.site.index_title = _("Administration")
admin.site.enable_nav_sidebar = True

# Secrets of the second factor and bookkeeping of sign-in are nobody's to read; rights come from server groups.
for model in (Authenticator, EmailAddress, EmailConfirmation, UserSession, Group):
    if admin.site.is_registered(model):
        admin.site.unregister(model)

# Reasons are kept in English and translated where they are shown.
SIGNED_OUT = gettext_noop("Signed out everywhere.")
FACTOR_REMOVED = gettext_noop("Second factor removed.")
ADDRESS_CONFIRMED = gettext_noop("E-mail address confirmed by an admin.")
SWITCHED_OFF = gettext_noop("Switched off from the list.")


class OwnAddressMixin:
    """An e-mail address belongs to one person: it signs in, and a new password is sent to it."""

    instance: User
    cleaned_data: dict[str, Any]

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"]
        if email and User.objects.exclude(pk=self.instance.pk).filter(email__iexact=email).exists():
            raise ValidationError(_("Another person already has this e-mail address."), code="taken")
        return email


class PersonForm(OwnAddressMixin, UserChangeForm):  # type: ignore[type-arg]
    time_zone = forms.ChoiceField(label=_("Time zone"), required=False, choices=time_zone_choices)


class NewPersonForm(OwnAddressMixin, AdminUserCreationForm):  # type: ignore[type-arg]
    pass


class MembershipInline(admin.StackedInline):  # type: ignore[type-arg]
    model = Membership
    extra = 0
    fields = (("group", "role"),)


@admin.register(User)
class PersonAdmin(AuditedAdmin, UserAdmin):  # type: ignore[type-arg]
    form = PersonForm
    add_form = NewPersonForm
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        (_("Person"), {"fields": ("first_name", "last_name", "email", "address_state", "language", "time_zone")}),
        (_("Rights"), {"fields": ("is_active", "is_staff", "is_superuser", "user_permissions")}),
        (_("Dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "email", "usable_password", "password1", "password2")}),
    )
    list_display = (
        "username",
        "email",
        "is_verified",
        "full_name",
        "group_count",
        "is_active",
        "is_staff",
        "last_login",
    )
    list_filter = ("is_active", "is_staff", "is_superuser", "server_groups")
    filter_horizontal = ()
    readonly_fields = ("address_state", "last_login", "date_joined")
    inlines = (MembershipInline,)
    actions = ("confirm_address", "switch_off", "sign_out_everywhere", "remove_second_factor")

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        people: QuerySet[User] = super().get_queryset(request)
        own = EmailAddress.objects.filter(user=OuterRef("pk"), email__iexact=OuterRef("email"), verified=True)
        return people.annotate(group_count=Count("memberships"), verified=Exists(own))

    @admin.display(description=_("groups"), ordering="group_count")
    def group_count(self, person: User) -> int:
        return person.group_count  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("verified"), boolean=True, ordering="verified")
    def is_verified(self, person: User) -> bool:
        return person.verified  # type: ignore[attr-defined, no-any-return]

    @admin.display(description=_("Mail about alerts"))
    def address_state(self, person: User) -> str:
        state = addresses.state_of(person)
        if not state.address:
            return _t("None: there is no address.")
        if not state.verified:
            return _t("None: the address is not verified. They verify it under “My account”, or you confirm it.")
        if state.refused:
            return _t("The address is verified, but it refused the last mail: %(answer)s") % {"answer": state.refused}
        return _t("Goes to this address: it is verified.")

    @admin.display(description=_("full name"), ordering="first_name")
    def full_name(self, person: User) -> str:
        return person.get_full_name()

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "user_permissions" and field is not None and field.queryset is not None:
            shown = ContentType.objects.get_for_models(*self.admin_site._registry).values()
            field.queryset = field.queryset.filter(content_type__in=shown)
            choices: Any = field.choices
            field.widget, field.help_text = forms.CheckboxSelectMultiple(choices=choices), ""
        return field

    # Who may touch whom: staff who are no superusers never become one, nor change one
    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        if request.user.is_superuser:
            return self.readonly_fields
        return (*self.readonly_fields, "is_staff", "is_superuser", "user_permissions")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (request.user.is_superuser or obj is None or not obj.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Nobody: with a person would go the log of what they did. `is_active` is what keeps them out."""
        return False

    def save_model(self, request: HttpRequest, obj: User, form: ModelForm, change: bool) -> None:  # type: ignore[type-arg]
        super().save_model(request, obj, form, change)
        if not change or "email" in form.changed_data:
            addresses.keep_in_step(obj)

    # Actions
    @admin.action(description=_("Confirm the e-mail address: it is theirs"), permissions=["change"])
    def confirm_address(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        people = self._within_reach(request, chosen)
        confirmed = [person for person in people if addresses.confirm(person)]
        for person in confirmed:
            person._change_reason = ADDRESS_CONFIRMED
            person.save(update_fields=["email"])
        self.log_selected(request, confirmed, ADDRESS_CONFIRMED)
        self._say(request, len(confirmed))
        left = [str(person) for person in people if person not in confirmed]
        if left:
            text = _t("No address, or one that another person has verified: %(people)s.") % {"people": ", ".join(left)}
            self.message_user(request, text, messages.WARNING)

    @admin.action(description=_("Switch off: may not sign in any more"), permissions=["change"])
    def switch_off(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        people = [
            person for person in self._within_reach(request, chosen) if person.is_active and person != request.user
        ]
        self.change_selected(request, people, {"is_active": False}, SWITCHED_OFF)
        for person in people:
            _sign_out(person)
        self._say(request, len(people))

    @admin.action(description=_("Sign out everywhere"), permissions=["change"])
    def sign_out_everywhere(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        people = self._within_reach(request, chosen)
        for person in people:
            _sign_out(person)
        self.log_selected(request, people, SIGNED_OUT)
        self._say(request, len(people))

    @admin.action(description=_("Remove the second factor (lost phone)"), permissions=["change"])
    def remove_second_factor(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        people = self._within_reach(request, chosen)
        Authenticator.objects.filter(user__in=people).delete()
        self.log_selected(request, people, FACTOR_REMOVED)
        self._say(request, len(people))

    def _within_reach(self, request: HttpRequest, chosen: QuerySet[User]) -> list[User]:
        return [person for person in chosen if self.has_change_permission(request, person)]

    def _say(self, request: HttpRequest, count: int) -> None:
        text = ngettext("Done for %(count)d person.", "Done for %(count)d people.", count) % {"count": count}
        self.message_user(request, text, messages.SUCCESS)


def _sign_out(person: User) -> None:
    """End every session of `person` that allauth knows, with its sockets."""
    for session in UserSession.objects.filter(user=person):
        session.end()
