"""What several questions of the API have in common: which server, and instants."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from django.contrib.auth.models import AbstractUser, AnonymousUser
from django.db.models import Q
from django.http import Http404
from django.utils.translation import gettext as _
from ninja import Field
from pydantic import AfterValidator, BeforeValidator

from monitoring.access import servers_for
from monitoring.models import Server
from portal.toolkit.api import ApiError

LONGEST_ID = 18

# Who does not escape the + of a zone in an address sends a space.
_ZONE_AFTER_SPACE = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$")

Instant = Annotated[
    datetime,
    BeforeValidator(lambda value: _ZONE_AFTER_SPACE.sub(r"\1+\2", value) if isinstance(value, str) else value),
    AfterValidator(lambda instant: instant if instant.tzinfo else instant.replace(tzinfo=UTC)),
]
"""ISO 8601; UTC without a zone."""


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


ServerId = Annotated[str, BeforeValidator(_text), Field(alias="serverId", description="An id or a name")]


def one_server(user: AbstractUser | AnonymousUser, text: str) -> Server:
    """The server that `user` may see with this id or else this name; one query.

    Raises ApiError when none is named, Http404 when there is none.
    """
    if not text:
        raise ApiError(400, _("“serverId” is missing."))
    wanted = Q(name=text)
    if text.isascii() and text.isdecimal() and len(text) <= LONGEST_ID:
        wanted |= Q(pk=int(text))
    found = [] if "\x00" in text else list(servers_for(user).filter(wanted))
    if not found:
        raise Http404(_("There is no such server."))
    return min(found, key=lambda server: str(server.pk) != text)
