"""A page of the admin that shows the text of new tokens, which nothing keeps for a second look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache


class Command(NamedTuple):
    """Something to copy, and what it is for. `text` may have several lines."""

    title: str
    text: str


class Shown(NamedTuple):
    """A token, by its name, whose text is shown now and never again."""

    name: str
    text: str
    commands: Sequence[Command]


@never_cache
def shown_once(request: HttpRequest, model_admin: ModelAdmin, shown: Sequence[Shown]) -> HttpResponse:  # type: ignore[type-arg]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("The token “%(name)s”") % {"name": ", ".join(one.name for one in shown)},
        "shown": shown,
        "opts": model_admin.opts,
    }
    return TemplateResponse(request, "admin/shown_once.html", context)
