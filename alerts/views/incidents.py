"""The pages of incidents: the list, and one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_htmx.middleware import HtmxDetails

from alerts.access import incident_for, incidents_for
from alerts.incident_filter import IncidentFilter
from alerts.models import Incident, IncidentStatus, Level, Threshold
from alerts.queries.chart import incident_chart
from alerts.queries.incident import incident_states
from alerts.queries.list import incident_page
from alerts.views.forms import AcknowledgeForm, CommentForm, SilenceForm, metrics_of
from monitoring.access import audience_of, operated_groups, servers_of
from monitoring.models import Role
from monitoring.queries.fleet import visible_groups
from portal.toolkit.audit import person_of

KEYS = (
    ("j", gettext_noop("Next incident")),
    ("k", gettext_noop("Previous incident")),
    ("Enter", gettext_noop("Open the incident")),
    ("a", gettext_noop("Acknowledge")),
    ("s", gettext_noop("Silence")),
    ("c", gettext_noop("Comment")),
    ("/", gettext_noop("Search")),
    ("Esc", gettext_noop("Close")),
    ("?", gettext_noop("This list")),
)


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms that act on an incident; in the list one of each serves every row."""

    acknowledge: AcknowledgeForm
    silence: SilenceForm
    comment: CommentForm


@never_cache
@require_safe
def incident_list(request: HttpRequest) -> HttpResponse:
    """A page of incidents with its filter; only the list when a script asks for it."""
    now, person = timezone.now(), person_of(request)
    audience, wanted = audience_of(person), IncidentFilter.read(request.GET)
    page = incident_page(audience, wanted, person.pk, operated_groups(person), now)
    context = {
        "page": page,
        "groups": visible_groups(audience),
        "levels": Level.choices,
        "owners": [(IncidentFilter.MINE, _("Mine")), (IncidentFilter.NOBODY, _("Nobody has it"))],
        "server": servers_of(audience).filter(pk=wanted.server).first() if wanted.server else None,
        "may_see_thresholds": person.has_perm("alerts.view_threshold"),
        "has_thresholds": bool(page.rows) or Threshold.objects.filter(enabled=True).exists(),
    }
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # django_htmx's middleware puts it there
    if htmx and not htmx.history_restore_request:
        response = render(request, "alerts/_list.html", context)
        shown = wanted.address(after=wanted.after)
        if htmx.current_url_abs_path != shown:
            response.headers["HX-Push-Url"] = shown
    else:
        forms = Forms(AcknowledgeForm(), SilenceForm(metrics=[], now=now), CommentForm())
        keys = [(key, _(says)) for key, says in KEYS]
        response = render(request, "alerts/list.html", context | {"forms": forms, "keys": keys})
    patch_vary_headers(response, ["HX-Request", "HX-History-Restore-Request"])
    return response


@never_cache
@require_safe
def incident(request: HttpRequest, incident_id: int) -> HttpResponse:
    """Everything about one incident, and the forms for whoever may act on it."""
    one, now = incident_for(request.user, incident_id), timezone.now()
    forms = Forms(AcknowledgeForm(), SilenceForm(metrics=metrics_of(one), now=now), CommentForm())
    return incident_response(request, one, forms, now)


def incident_response(
    request: HttpRequest, one: Incident, forms: Forms, now: datetime, *, status: int = 200
) -> HttpResponse:
    """The page of `one`, with `forms` as they were filled in."""
    states = incident_states([one.pk], now)
    if not states:  # deleted between the two looks
        raise Http404
    context = {
        "incident": states[one.pk],
        "chart": incident_chart(one, _number(request.GET.get("problem", "")), now),
        "forms": forms,
        "is_open": one.status != IncidentStatus.RESOLVED,
        "may_operate": incidents_for(request.user, Role.OPERATOR).filter(pk=one.pk).exists(),
    }
    return render(request, "alerts/incident.html", context, status=status)


@never_cache
@require_safe
def chart(request: HttpRequest, incident_id: int) -> HttpResponse:
    """Only the chart, as new samples arrive."""
    one, now = incident_for(request.user, incident_id), timezone.now()
    drawn = incident_chart(one, _number(request.GET.get("problem", "")), now)
    return render(request, "alerts/_chart.html", {"chart": drawn, "incident_id": one.pk})


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else None
