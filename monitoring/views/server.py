"""The page of one server, and the samples that its charts fetch."""

from __future__ import annotations

import time
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring.access import server_for
from monitoring.history.read import names_of
from monitoring.panels import REST, panel_groups
from monitoring.queries.server import MOST_POINTS, RANGES_S, USUAL_POINTS, SamplesAsked, samples_json, vitals
from monitoring.span import FIRST_MS, LAST_MS, Span
from portal.toolkit.instants import at_ms

FIRST_RANGE = "15m"


class RequestError(ValueError):
    """The address asks for something that cannot be; the message says what may stand there."""


@never_cache
@require_safe
def server(request: HttpRequest, server_id: int) -> HttpResponse:
    """Head, and a frame for each chart; the numbers follow. A link may ask for any time instead of a range."""
    one = server_for(request.user, server_id)
    heads = vitals([one.pk])
    if not heads:  # deleted between the two looks
        raise Http404
    groups = panel_groups(names_of(one.pk))
    chosen, span = request.GET.get("range", ""), Span.read(request.GET, getattr(request.user, "time_zone", ""))
    context: dict[str, Any] = {
        "vitals": heads[one.pk],
        "server": one,
        "groups": [group for group in groups if group.family != REST],
        "rest": next((group for group in groups if group.family == REST), None),
        "ranges": _ranges(),
        "first_range": FIRST_RANGE,
        "chosen": chosen if chosen in RANGES_S else FIRST_RANGE,
        "fixed": _fixed(span),
        "can_change": request.user.has_perm("monitoring.change_server"),
    }
    return render(request, "monitoring/server.html", context)


def _fixed(span: Span) -> tuple[int, int] | None:
    """The time that was asked for, epoch ms; None when it is not one that has a beginning and an end after it."""
    if not span.start or not span.end or span.start >= span.end:
        return None
    return at_ms(span.start), at_ms(span.end)


def _ranges() -> list[tuple[str, str, int]]:
    """(word in the address, what the button says, seconds)."""
    return [(word, _span(seconds), seconds) for word, seconds in RANGES_S.items()]


def _span(seconds: int) -> str:
    minutes = seconds // 60
    if minutes < 60:
        return ngettext("%(n)d minute", "%(n)d minutes", minutes) % {"n": minutes}
    return ngettext("%(n)d hour", "%(n)d hours", minutes // 60) % {"n": minutes // 60}


@never_cache
@require_safe
def samples(request: HttpRequest, server_id: int) -> HttpResponse:
    """Samples as `samples_json` writes them: of a `range`, `from` … `to`, or what came `after` (epoch ms)."""
    one = server_for(request.user, server_id)
    try:
        asked = _asked(request.GET, int(time.time() * 1000))
    except RequestError as error:
        return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
    return HttpResponse(samples_json(one.pk, asked), content_type="application/json")


def _asked(query: QueryDict, now_ms: int) -> SamplesAsked:
    """Raises RequestError."""
    metrics = frozenset(word for word in query.get("metrics", "").split(",") if word)
    points = _whole(query, "points", 1, MOST_POINTS) if "points" in query else USUAL_POINTS
    end_ms = now_ms + 1
    longest_ms = max(RANGES_S.values()) * 1000
    if "from" in query:
        start_ms = _whole(query, "from", FIRST_MS, LAST_MS)
        end_ms = _whole(query, "to", start_ms + 1, LAST_MS) if "to" in query else end_ms
    elif "after" in query:
        after = _whole(query, "after", 0, end_ms)
        start_ms = max(after + 1, now_ms - longest_ms)
    else:
        word = query.get("range", FIRST_RANGE)
        if word not in RANGES_S:
            raise RequestError(_("range: use one of %(words)s") % {"words": ", ".join(RANGES_S)})
        start_ms = end_ms - RANGES_S[word] * 1000
    return SamplesAsked(start_ms, end_ms, metrics, points)


def _whole(query: QueryDict, name: str, least: int, most: int) -> int:
    said = str(query[name])
    number = int(said) if said.isascii() and said.isdecimal() and len(said) < 16 else -1
    if not least <= number <= most:
        raise RequestError(
            _("%(name)s: use a whole number from %(least)d to %(most)d") % {"name": name, "least": least, "most": most}
        )
    return number
