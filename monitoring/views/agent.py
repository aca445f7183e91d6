"""The agent, as a machine downloads it: open to everyone, because there is no secret in it."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import condition, require_safe

FILE_NAME = "agent.py"


class Program(NamedTuple):
    content: bytes
    sha256: str


@cache
def program() -> Program:
    """Read once a process: an update of the portal starts new ones."""
    content = (settings.BASE_DIR / "monitoring" / "agent" / "openmanager_agent.py").read_bytes()
    return Program(content, hashlib.sha256(content).hexdigest())


def _etag(request: HttpRequest) -> str:
    return f'"{program().sha256}"'


@login_not_required
@require_safe
@cache_control(public=True, no_cache=True)
@condition(etag_func=_etag)
def agent(request: HttpRequest) -> HttpResponse:
    """Kept by caches, and asked for each time whether it is still the same: its sum is another answer."""
    return HttpResponse(program().content, content_type="text/x-python; charset=utf-8")


@login_not_required
@require_safe
@cache_control(public=True, no_cache=True)
@condition(etag_func=_etag)
def agent_sha256(request: HttpRequest) -> HttpResponse:
    """As `sha256sum --check` reads it."""
    return HttpResponse(f"{program().sha256}  {FILE_NAME}\n", content_type="text/plain; charset=utf-8")
