"""An admin in which nothing is added, changed, deleted or brought back without saying why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import unquote
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from portal.toolkit.audit import AuditedAdmin


class ReasonForm(forms.Form):
    """Why; at least a word."""

    change_reason = forms.CharField(
        label=_("Reason"),
        max_length=300,
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
        help_text=_("Kept in the history, for whoever wonders later."),
    )


class ReasonedForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of an object with the reason of its change."""

    change_reason = ReasonForm.base_fields["change_reason"]


class ReasonedAdmin(AuditedAdmin):
    """`form` must be a ReasonedForm, `fieldsets` name its `change_reason`."""

    reason_template = "admin/alerts/reason.html"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj._change_reason = form.cleaned_data["change_reason"]
        super().save_model(request, obj, form, change)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Deleting from the list asks for a reason too."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is None or not self.has_delete_permission(request, row):
            refused: HttpResponse = super().delete_view(request, object_id, extra_context)
            return refused
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._ask(request, [row], form, title=_t("Delete"), submit=_t("Delete"), grave=True)
        shown = str(row)
        self.delete_rows(request, [row], form.cleaned_data["change_reason"])
        deleted: HttpResponse = self.response_delete(request, shown, object_id)
        return deleted

    def delete_rows(self, request: HttpRequest, rows: Sequence[models.Model], reason: str) -> None:
        """One by one: each leaves a last row of history that says why."""
        with transaction.atomic():
            self.log_deletions(request, rows)
            for row in rows:
                row._change_reason = reason  # type: ignore[attr-defined]
                row.delete()

    def with_reason(
        self,
        request: HttpRequest,
        rows: Sequence[models.Model],
        act: Callable[[str], str],
        *,
        title: str,
        submit: str,
        grave: bool = False,
    ) -> HttpResponse | None:
        """An action on `rows` behind a page that asks why. `act` is given the reason and says what was done."""
        asked = "change_reason" in request.POST
        form = ReasonForm(request.POST if asked else None)
        if rows and not form.is_valid():
            return self._ask(request, rows, form, title=title, submit=submit, grave=grave)
        done = act(form.cleaned_data["change_reason"]) if rows else _t("There was nothing to do.")
        self.message_user(request, done, messages.SUCCESS if rows else messages.INFO)
        return None

    def _ask(
        self,
        request: HttpRequest,
        rows: Sequence[models.Model],
        form: ReasonForm,
        *,
        title: str,
        submit: str,
        grave: bool,
    ) -> TemplateResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "rows": rows,
            "form": form,
            "submit": submit,
            "grave": grave,
            "action": request.POST.get("action", ""),
            "chosen": [row.pk for row in rows],
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, self.reason_template, context)
