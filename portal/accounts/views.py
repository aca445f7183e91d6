"""One's own preferences, and the language switch."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from portal.accounts import addresses
from portal.accounts.forms import LanguageForm, PreferencesForm
from portal.accounts.models import User


@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest) -> HttpResponse:
    """Language and time zone of the person; who is signed in, and with which address."""
    person = request.user
    assert isinstance(person, User)
    form = PreferencesForm(request.POST if request.method == "POST" else None, instance=person)
    if form.is_valid():
        person.save(update_fields=["language", "time_zone"])
        response = redirect("accounts:preferences")
        if person.language:
            translation.activate(person.language)
            _remember_language(response, person.language)
        else:
            response.delete_cookie(settings.LANGUAGE_COOKIE_NAME)
        messages.success(request, _("Preferences saved."))
        return response
    context = {"form": form, "address": addresses.state_of(person)}
    return render(request, "account/preferences.html", context)


@login_not_required
@require_POST
def language(request: HttpRequest) -> HttpResponse:
    """Switch the language, in the profile and in this browser, and go back to the page that `next` names."""
    form = LanguageForm(request.POST)
    if not form.is_valid():
        return HttpResponse(_("There is no such language."), status=400)
    chosen = form.cleaned_data["language"]
    if isinstance(request.user, User) and request.user.is_authenticated:
        request.user.language = chosen
        request.user.save(update_fields=["language"])
    response = HttpResponseRedirect(_safe_next(request))
    _remember_language(response, chosen)
    return response


def _remember_language(response: HttpResponse, chosen: str) -> None:
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        chosen,
        max_age=365 * 86_400,
        samesite="Lax",
        secure=settings.TLS_ON,
        httponly=True,
    )


def _safe_next(request: HttpRequest) -> str:
    """Where `next` says, when that is a path of ours; else the front page."""
    said = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(said, {request.get_host()}, require_https=request.is_secure())
    return said if ours else "/"
