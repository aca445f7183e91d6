"""What an action of the admin says when it is done."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import ngettext


def say_count(request: HttpRequest, count: int, one: str, many: str) -> None:
    messages.success(request, ngettext(one, many, count) % {"count": count})
