"""What people do with incidents. POST only; who has no script is sent back to the page of the incident."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from alerts import incidents, silences
from alerts.access import incident_for
from alerts.models import Incident, Scope
from alerts.queries.incident import incident_states
from alerts.queries.list import incident_rows
from alerts.views.forms import AcknowledgeForm, CommentForm, SilenceForm, metrics_of
from alerts.views.incidents import Forms, incident_response
from monitoring.access import operated_groups
from monitoring.models import Role
from portal.toolkit.audit import person_of

Action = Callable[[HttpRequest, Incident, datetime], str]
"""Does it, and says in words what was done. Raises UnfilledError, or incidents.TooLate."""


class UnfilledError(ValueError):
    """A form that is not filled in as it should be; `forms` are all of the page with what was typed."""

    def __init__(self, wrong: Form, forms: Forms) -> None:
        super().__init__(" ".join(str(text) for texts in wrong.errors.values() for text in texts))
        self.forms = forms


def acts(action: Action) -> Callable[[HttpRequest, int], HttpResponse]:
    """A view of `action` for operators of the incident's group.

    A script gets the row or the fragment as it is now, or plain words with 403, 409 or 422.
    """

    @require_POST
    @wraps(action)
    def view(request: HttpRequest, incident_id: int) -> HttpResponse:
        by_script, now = "HX-Request" in request.headers, timezone.now()
        try:
            one = incident_for(request.user, incident_id, Role.OPERATOR)
        except PermissionDenied as error:
            if not by_script:
                raise
            return _plain(str(error), 403)
        try:
            said = action(request, one, now)
        except incidents.TooLate as error:
            return _plain(str(error), 409) if by_script else _back(request, one, messages.WARNING, str(error))
        except UnfilledError as error:
            return (
                _plain(str(error), 422) if by_script else incident_response(request, one, error.forms, now, status=422)
            )
        return _shown(request, one, now) if by_script else _back(request, one, messages.SUCCESS, said)

    return view


@acts
def acknowledge(request: HttpRequest, one: Incident, now: datetime) -> str:
    form = AcknowledgeForm(request.POST)
    if not form.is_valid():
        raise UnfilledError(form, _forms(one, now, acknowledge=form))
    until, reason = form.until_at(now), form.cleaned_data["reason"]
    incidents.acknowledge(one, person_of(request), reason=reason, until=until, now=now)
    return _("Acknowledged: it is yours.")


@acts
def release(request: HttpRequest, one: Incident, now: datetime) -> str:
    incidents.release(one, person_of(request), now)
    return _("You gave it back: nobody has it.")


@acts
def comment(request: HttpRequest, one: Incident, now: datetime) -> str:
    form = CommentForm(request.POST)
    if not form.is_valid():
        raise UnfilledError(form, _forms(one, now, comment=form))
    incidents.comment(one, person_of(request), form.cleaned_data["text"], now)
    return _("Your comment was added.")


@acts
def silence(request: HttpRequest, one: Incident, now: datetime) -> str:
    """Over the incident's server, or the group that it is in."""
    if one.server is None:
        raise incidents.TooLate(_("This server was removed."))
    form = SilenceForm(request.POST, metrics=metrics_of(one), now=now)
    if not form.is_valid():
        raise UnfilledError(form, _forms(one, now, silence=form))
    chosen = form.cleaned_data
    over_group = chosen["scope"] == Scope.GROUP
    silences.silence(
        person_of(request),
        scope=Scope(chosen["scope"]),
        group=one.server.group if over_group else None,
        server=None if over_group else one.server,
        metric=form.chosen_metric(),
        reason=chosen["reason"],
        starts_at=now,
        ends_at=chosen["ends_at"],
        now=now,
    )
    return _("Silenced: nobody is mailed until it ends.")


@acts
def unsilence(request: HttpRequest, one: Incident, now: datetime) -> str:
    """What was laid over its server or group; what is wider is an admin's to end."""
    if one.server is not None and not silences.end_over(one.server, person_of(request), now):
        raise incidents.TooLate(_("A silence over more than this group still holds; only an admin can end it."))
    return _("The silence has ended: whoever has not heard of it is mailed.")


def _forms(
    one: Incident,
    now: datetime,
    *,
    acknowledge: AcknowledgeForm | None = None,
    silence: SilenceForm | None = None,
    comment: CommentForm | None = None,
) -> Forms:
    return Forms(
        acknowledge or AcknowledgeForm(),
        silence or SilenceForm(metrics=metrics_of(one), now=now),
        comment or CommentForm(),
    )


def _plain(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")


def _back(request: HttpRequest, one: Incident, level: int, text: str) -> HttpResponse:
    messages.add_message(request, level, text)
    return HttpResponseRedirect(one.get_absolute_url())


def _shown(request: HttpRequest, one: Incident, now: datetime) -> HttpResponse:
    """The row in the list, or the state on the incident's own page: what the script asks to put its answer into."""
    if request.headers.get("HX-Target") == f"incident-{one.pk}":
        states = incident_states([one.pk], now)
        return render(request, "alerts/_incident.html", {"incident": states[one.pk]})
    fresh = incident_for(request.user, one.pk)
    rows = incident_rows([fresh], operated_groups(person_of(request)), now)
    return render(request, "alerts/_incident_row.html", {"row": rows[0]})
