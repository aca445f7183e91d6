"""Icons as inline SVG: decoration, hidden from screen readers; the word beside it says what it means."""

from __future__ import annotations

import re
from functools import cache

from django import template
from django.utils.safestring import SafeString
from lucide.templatetags.lucide import lucide

register = template.Library()

SHARED = re.compile(r' (fill="none"|stroke="currentColor"|stroke-(width|linecap|linejoin)="\w+")')
TOAST_ICONS = {"success": "circle-check", "error": "octagon-alert", "warning": "triangle-alert"}


@register.simple_tag
@cache
def icon(name: str, size: int = 16) -> SafeString:
    """The lucide icon `name`, drawn once a process; raises `IconDoesNotExist` for a name it does not have.

    What all icons share (no fill, the colour of the text, round ends) is said once, in tokens.css.
    """
    drawn = lucide(name, size=size, aria_hidden="true", **{"class": "icon"})
    return SafeString("".join(line.strip() for line in SHARED.sub("", drawn).splitlines()))


@register.simple_tag
def toast_icon(kind: str) -> SafeString:
    return icon(TOAST_ICONS.get(kind, "info"), 18)


@register.filter
def words(text: str) -> list[str]:
    return text.split()
