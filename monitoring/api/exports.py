"""Exports: files that are written in the background."""

from __future__ import annotations

from typing import Literal

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja import Field, Router, Schema

from monitoring.api.asked import Instant, ServerId, one_server
from monitoring.exports import history
from monitoring.exports.asking import ExportError, export_for, share_done
from monitoring.exports.file import download
from monitoring.models.export import Export, ExportState
from portal.toolkit.api import ApiError
from portal.toolkit.audit import person_of
from portal.toolkit.instants import iso
from portal.toolkit.sentence import say

router = Router(tags=["Exports"])


class ExportIn(Schema):
    server_id: ServerId
    metrics: list[str] = Field([], description="Names; none: all.", max_length=2000)
    start: Instant | None = Field(None, alias="from", description="None: the first sample.")
    end: Instant | None = Field(None, alias="to", description="Before this instant. None: now.")
    format: Literal["csv", "json"] = "csv"


class ExportOut(Schema):
    id: int
    kind: Literal["history", "logs"]
    server_id: str | None = Field(alias="serverId", description="Of history.")
    state: Literal["waiting", "running", "done", "failed"]
    share: float = Field(description="Of the time that is written: from 0 to 1.")
    rows: int
    bytes: int = Field(description="Of the file, packed.")
    error: str = Field(description="Why it failed, in words; else empty.")
    metrics: list[str] = Field(description="Of history.")
    created_at: str = Field(alias="createdAt")
    file: str | None = Field(description="Where the file is when it is done.")


@router.post("/monitoring/exports", response={202: ExportOut}, by_alias=True, summary="Ask for a file of samples")
def ask_for_export(request: HttpRequest, wanted: ExportIn) -> HttpResponse:
    """A worker writes it; ask `GET /api/monitoring/exports/{id}` how far it is. It is kept for a day."""
    server = one_server(request.user, wanted.server_id)
    try:
        export = history.ask(
            person_of(request), server, wanted.metrics, wanted.start, wanted.end, wanted.format, timezone.now()
        )
    except ExportError as error:
        raise refused(error) from error
    return accepted(export)


@router.get(
    "/monitoring/exports/{int:export_id}",
    response=ExportOut,
    by_alias=True,
    summary="How far a file is",
    url_name="export",
)
def export_progress(request: HttpRequest, export_id: int) -> HttpResponse:
    """Only who asked for it sees it, and only while they may see the servers whose data are in it."""
    return _json(export_for(person_of(request), export_id))


@router.get("/monitoring/exports/{int:export_id}/file", summary="The file", url_name="export_file")
def export_file(request: HttpRequest, export_id: int, packed: bool = False) -> HttpResponseBase:
    """An attachment; with `packed=true` as the .gz that it is kept as. 409 before it is done."""
    export = export_for(person_of(request), export_id)
    if export.state != ExportState.DONE:
        raise ApiError(409, say(export.error) or _("The file is still being written."))
    return download(request, export, packed=packed)


def refused(error: ExportError) -> ApiError:
    return ApiError(429 if error.code == "too_many_exports" else 400, str(error))


def accepted(export: Export) -> HttpResponse:
    """202, with the address that says how far it is."""
    response = _json(export, 202)
    response.headers["Location"] = reverse("api:export", args=[export.pk])
    return response


def _json(export: Export, status: int = 200) -> HttpResponse:
    is_done = export.state == ExportState.DONE
    body = {
        "id": export.pk,
        "kind": export.kind,
        "serverId": export.server_id and str(export.server_id),
        "state": export.state,
        "share": round(share_done(export), 4),
        "rows": export.rows,
        "bytes": export.bytes,
        "error": say(export.error),
        "metrics": sorted({name.metric for name in history.series_of(export)}) if export.server_id else [],
        "createdAt": iso(export.created_at),
        "file": reverse("api:export_file", args=[export.pk]) if is_done else None,
    }
    response = HttpResponse(orjson.dumps(body), status=status, content_type="application/json")
    response.headers["Cache-Control"] = "private, no-cache"
    return response
