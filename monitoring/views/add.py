"""The page on which admins of groups add servers, a tab for each way in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from monitoring import adding
from monitoring.access import Person, groups_for
from monitoring.models import Job, PushToken, Role, ServerGroup, Source

TOKEN = "TOKEN"  # noqa: S105 (it stands where a token will)


@dataclass(frozen=True, slots=True)
class Way:
    """A tab. `adds` is what its form makes, and what the first sample is waited for of."""

    name: str
    label: Any
    about: Any
    adds: str = "token"


WAYS = [
    Way("agent", _("Agent"), _("A small program on the machine: CPU, memory, disks, network. It waits out outages.")),
    Way("curl", _("Script"), _("Your own numbers, from any program that can send a line of JSON.")),
    Way("prometheus", _("Prometheus"), _("A Prometheus that you run already sends on what it reads (remote_write).")),
    Way("otlp", _("OpenTelemetry"), _("Programs with an OpenTelemetry SDK, or its collector, send metrics over HTTP.")),
    Way("logs", _("Logs"), _("What machines and programs write: use whichever of these you have; one token for all.")),
    Way(
        "scrape", _("Endpoint"), _("The portal reads an address that offers metrics, such as node_exporter."), "source"
    ),
    Way("job", _("Job"), _("Cron jobs and backups say that they ran. Silence is a failure."), "job"),
]


class GroupForm(forms.Form):
    """`groups` are those in which the person may add."""

    group = forms.ModelChoiceField(ServerGroup.objects.none(), label=_("Group"), empty_label=None)

    def __init__(self, data: QueryDict | None = None, *, groups: QuerySet[ServerGroup]) -> None:
        super().__init__(data)
        self.fields["group"].queryset = groups  # type: ignore[attr-defined]


class EndpointForm(GroupForm):
    server = forms.CharField(label=_("Server"), max_length=200, help_text=_("Its name; a new one is added."))
    url = forms.CharField(label=_("URL"), max_length=500, widget=forms.URLInput)
    url.widget.attrs["placeholder"] = "http://web-1:9100/metrics"


class JobForm(GroupForm):
    server = forms.CharField(label=_("Server"), max_length=200, help_text=_("Where it runs; a new one is added."))
    name = forms.CharField(label=_("Job"), max_length=100)
    period = forms.TypedChoiceField(
        label=_("Runs every"),
        coerce=int,
        choices=[(300, _("5 minutes")), (3600, _("hour")), (86_400, _("day")), (604_800, _("week"))],
        initial=86_400,
        help_text=_("It may be a tenth of that late."),
    )


FORMS: dict[str, type[GroupForm]] = {"token": GroupForm, "source": EndpointForm, "job": JobForm}


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """The tab of `way`; a POST makes what it needs. A token's text is in the answer to that POST and nowhere else."""
    groups = _groups(request.user)
    way = next((way for way in WAYS if way.name == request.GET.get("way")), WAYS[0])
    if request.method == "POST":
        return _add(request, way, groups)
    added = _added(way.adds, request.GET["added"], groups) if "added" in request.GET else None
    return _page(request, way, FORMS[way.adds](groups=groups), added)


def _add(request: HttpRequest, way: Way, groups: QuerySet[ServerGroup]) -> HttpResponse:
    form = FORMS[way.adds](request.POST, groups=groups)
    if not form.is_valid():
        return _page(request, way, form, status=422)
    if way.adds == "token":
        token, text = adding.make_token(way.name, form.cleaned_data["group"], timezone.now())
        return _page(request, way, form, token, text=text)
    try:
        added = _watch(form.cleaned_data, way)
    except ValidationError as error:
        form.add_error(None, error)
        return _page(request, way, form, status=422)
    return HttpResponseRedirect(f"{reverse('monitoring:add')}?way={way.name}&added={added.pk}")


def _watch(said: dict[str, Any], way: Way) -> Source | Job:
    if way.adds == "source":
        return adding.add_endpoint(said["group"], said["server"], said["url"])
    return adding.add_job(said["group"], said["server"], said["name"], said["period"])


def _page(
    request: HttpRequest,
    way: Way,
    form: GroupForm,
    added: PushToken | Source | Job | None = None,
    *,
    text: str = "",
    status: int = 200,
) -> HttpResponse:
    url = settings.PORTAL_URL
    if isinstance(added, Job):
        commands = adding.commands_of_job(url, added)
    else:
        commands = adding.commands_for(way.name, url, text or TOKEN)
    context = {
        "ways": WAYS,
        "way": way,
        "form": form,
        "text": text,
        "commands": commands,
        "waiting": _waiting(way.adds, added, way.name) if added else None,
    }
    return render(request, "monitoring/add_server.html", context, status=status)


@never_cache
@require_safe
def add_waiting(request: HttpRequest, kind: str, added_id: int) -> HttpResponse:
    """Whether the first sample has come: asked every two seconds, until it has."""
    added = _added(kind, str(added_id), _groups(request.user))
    return render(
        request, "monitoring/add_waiting.html", {"waiting": _waiting(kind, added, request.GET.get("way", ""))}
    )


def _waiting(kind: str, added: Any, way: str) -> dict[str, Any]:
    arrivals: dict[str, Callable[[Any], adding.Arrival]] = {
        "token": adding.arrival_of_token,
        "source": adding.arrival_of_source,
        "job": adding.arrival_of_job,
    }
    return {"kind": kind, "pk": added.pk, "is_logs": way == "logs", "arrival": arrivals[kind](added)}


def _groups(user: Person) -> QuerySet[ServerGroup]:
    """The groups in which `user` may add servers. Raises PermissionDenied when there is none."""
    groups = groups_for(user, Role.ADMIN)
    if not groups.exists():
        raise PermissionDenied(_t("Servers are added by admins of a group."))
    return groups


def _added(kind: str, said: str, groups: QuerySet[ServerGroup]) -> Any:
    """What was added to one of the groups; raises Http404."""
    rows: dict[str, QuerySet[Any]] = {
        "token": PushToken.objects.filter(group__in=groups),
        "source": Source.objects.filter(server__group__in=groups).select_related("server"),
        "job": Job.objects.filter(server__group__in=groups).select_related("server"),
    }
    known = said.isascii() and said.isdecimal() and len(said) < 18 and kind in rows
    found = rows[kind].filter(pk=int(said)).first() if known else None
    if found is None:
        raise Http404(_t("There is nothing here."))
    return found


def may_add(user: Person) -> bool:
    """Whether the page is for `user`; no query for a superuser."""
    return bool(user.is_active and user.is_superuser) or groups_for(user, Role.ADMIN).exists()
