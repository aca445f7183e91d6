"""How the admin shows what alerts are about: links, limits, facts. Text is in the active language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import models
from django.forms import BaseForm, MultiWidget
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from alerts.models import Level, Threshold
from portal.toolkit.quantity import duration, quantity

NAMED = 6
"""So many names are said; the others are counted."""
NOTHING = "–"


def admin_link(row: models.Model, text: object = None) -> SafeString:
    """To the page of `row` in the admin; whatever writing a name is in, what follows keeps its direction."""
    page = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return format_html('<a href="{}"><bdi>{}</bdi></a>', reverse(page, args=[row.pk]), row if text is None else text)


def links(rows: Sequence[models.Model]) -> SafeString:
    """The first few as links, and how many more there are."""
    named = format_html_join(", ", "{}", ((admin_link(row),) for row in rows[:NAMED]))
    more = len(rows) - NAMED
    if more <= 0:
        return named
    return format_html("{} {}", named, ngettext("and %(count)d more", "and %(count)d more", more) % {"count": more})


def names(texts: Sequence[str]) -> str:
    """The same for plain names."""
    more = len(texts) - NAMED
    said = ", ".join(texts[:NAMED])
    if more > 0:
        said += " " + ngettext("and %(count)d more", "and %(count)d more", more) % {"count": more}
    return said


def bullets(lines: Iterable[object]) -> SafeString:
    return format_html('<ul class="facts">{}</ul>', format_html_join("", "<li>{}</li>", ((line,) for line in lines)))


def table(rows: Iterable[tuple[object, object]]) -> SafeString:
    """Names and numbers."""
    body = format_html_join("", "<tr><th scope='row'>{}</th><td class='number'>{}</td></tr>", rows)
    return format_html("<table class='facts'>{}</table>", body)


def moment(at: datetime | None) -> str:
    """An instant in the active time zone, to the minute, with the zone's name."""
    if at is None:
        return NOTHING
    local = timezone.localtime(at)
    return f"{date_format(local, 'Y-m-d H:i')} {local.tzname()}"


def metric_words(threshold: Any) -> str:
    """The metric's label in the active language."""
    return _(str(threshold.metric))


def limit_words(threshold: Threshold, warning: float | None, critical: float | None) -> str:
    """Limits with their unit: “above 70.0% warning, 85.0% critical”."""
    limits = [(warning, Level.WARNING), (critical, Level.CRITICAL)]
    unit = threshold.metric.unit
    said = [f"{quantity(limit, unit)} {str(level.label).lower()}" for limit, level in limits if limit is not None]
    return f"{threshold.get_direction_display()} {', '.join(said)}" if said else _("no limit")


def silence_words(threshold: Threshold) -> str:
    """“critical after 5 min”."""
    if threshold.no_data_after_s is None:
        return NOTHING
    after = duration(threshold.no_data_after_s)
    said = _("%(level)s after %(time)s") % {"level": threshold.get_no_data_level_display(), "time": after}
    return said.lower()


def name_instants(form: BaseForm, *fields: str) -> None:
    """Below each of these fields of an instant, in which zone it is read; and each of its two inputs has a name."""
    # (xgettext reads no message inside an f-string)
    zone = _("Time zone: %(zone)s.") % {"zone": timezone.get_current_timezone_name()}
    for name in fields:
        if name in form.fields:
            field = form.fields[name]
            field.help_text = f"{field.help_text} {zone}".strip()
            if isinstance(field.widget, MultiWidget):
                for part, word in zip(field.widget.widgets, (_("Date"), _("Time")), strict=True):
                    part.attrs["aria-label"] = f"{field.label}: {word}"
