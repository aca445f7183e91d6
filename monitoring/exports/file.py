"""The file of a finished export, part by part."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.http import content_disposition_header

from monitoring.exports.kinds import content_type, kind_of
from monitoring.models.export import Export, ExportPart

LONGEST_NAME = 80


def download(request: HttpRequest, export: Export, *, packed: bool) -> StreamingHttpResponse:
    """The export as an attachment: gzip members one after the other when `packed`, else what is in them.

    One query and one part in memory at a time.
    """
    parts = _parts(export.pk, packed=packed)
    # A server of asynchronous requests would read a plain iterator to its end before it sends the first byte.
    body = _asynchronous(parts) if isinstance(request, ASGIRequest) else parts
    response = StreamingHttpResponse(body, content_type="application/gzip" if packed else content_type(export))
    name = file_name(export) + (".gz" if packed else "")
    response.headers["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    response.headers["Cache-Control"] = "private, no-store"
    # The middleware would pack each part by itself, and browsers unpack no more than the first.
    request.META["HTTP_ACCEPT_ENCODING"] = "identity"
    if packed:
        response.headers["Content-Length"] = str(export.bytes)
    return response


def file_name(export: Export) -> str:
    """Letters, digits and dashes alone: a server's name is what somebody pushed."""
    stem = re.sub(r"[^\w-]+", "-", kind_of(export).stem(export)).strip("-_")[:LONGEST_NAME] or f"export-{export.pk}"
    return f"{stem}_{export.starts_at:%Y%m%dT%H%M%SZ}_{export.ends_at:%Y%m%dT%H%M%SZ}.{export.format}"


def _parts(export_id: int, *, packed: bool) -> Iterator[bytes]:
    number = 0
    while body := ExportPart.objects.filter(export_id=export_id, number=number).values_list("body", flat=True).first():
        yield bytes(body) if packed else gzip.decompress(body)
        number += 1


async def _asynchronous(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    following = sync_to_async(lambda: next(parts, None))
    while (part := await following()) is not None:
        yield part
