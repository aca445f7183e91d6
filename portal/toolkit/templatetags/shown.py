"""Instants and numbers in templates."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.safestring import SafeString

from portal.toolkit.instants import time_tag
from portal.toolkit.quantity import digits, quantity

register = template.Library()


@register.simple_tag
def instant(value: datetime, show: str = "") -> SafeString:
    return time_tag(value, show)


@register.filter
def in_unit(value: float | None, unit: str) -> str:
    return quantity(value, unit)


@register.filter
def number(value: float) -> str:
    return digits(value)
