"""What is filled in on the pages of incidents. Times that somebody types are in their own zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from alerts.models import Incident, Problem, Scope, Silence
from monitoring.models import Metric
from monitoring.queries.samples import metric_label

LONGEST_REASON = Silence._meta.get_field("reason").max_length
LONGEST_COMMENT = 2000
LONGEST_SILENCE = timedelta(days=366)
HELD_FOR = {"30m": timedelta(minutes=30), "1h": timedelta(hours=1), "4h": timedelta(hours=4), "resolved": None}
SILENT_FOR = {"1h": timedelta(hours=1), "4h": timedelta(hours=4), "1d": timedelta(days=1)}
UNTIL_INSTANT = "at"


class OneLine(forms.CharField):
    """Text in which line breaks and runs of blanks are one blank."""

    def to_python(self, value: Any) -> str:
        return " ".join((super().to_python(value) or "").split())


class AcknowledgeForm(forms.Form):
    until = forms.ChoiceField(
        label=gettext_lazy("For"),
        choices=[
            ("30m", gettext_lazy("30 min")),
            ("1h", gettext_lazy("1 h")),
            ("4h", gettext_lazy("4 h")),
            ("resolved", gettext_lazy("until resolved")),
        ],
        initial="1h",
    )
    reason = OneLine(label=gettext_lazy("Reason"), max_length=LONGEST_REASON, required=False)

    def until_at(self, now: datetime) -> datetime | None:
        """None: until it is resolved."""
        span = HELD_FOR[self.cleaned_data["until"]]
        return None if span is None else now + span


class SilenceForm(forms.Form):
    """A silence over a server or over its group, for all metrics or one of `metrics`, (name, label) pairs."""

    scope = forms.ChoiceField(
        label=gettext_lazy("What is silenced"),
        choices=[(Scope.SERVER, gettext_lazy("this server")), (Scope.GROUP, gettext_lazy("its whole group"))],
        initial=Scope.SERVER,
    )
    metric = forms.ChoiceField(label=gettext_lazy("Metric"), required=False)
    until = forms.ChoiceField(
        label=gettext_lazy("For"),
        choices=[
            ("1h", gettext_lazy("1 h")),
            ("4h", gettext_lazy("4 h")),
            ("1d", pgettext_lazy("a time", "1 day")),
            (UNTIL_INSTANT, gettext_lazy("until …")),
        ],
        initial="1h",
    )
    at = forms.DateTimeField(
        label=gettext_lazy("Until"), required=False, input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
    )
    zone = forms.CharField(required=False, max_length=64)
    reason = OneLine(label=gettext_lazy("Reason"), max_length=LONGEST_REASON)

    def __init__(self, data: Any = None, *, metrics: Sequence[tuple[str, str]], now: datetime) -> None:
        super().__init__(data)
        self._now = now
        self.fields["metric"].choices = [("", _("every metric")), *metrics]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        if cleaned.get("until") == UNTIL_INSTANT:
            cleaned["ends_at"] = ends_at = self._typed(cleaned.get("at"), cleaned.get("zone", ""))
            if ends_at is None:
                self.add_error("at", _("Say until when."))
            elif ends_at <= self._now:
                self.add_error("at", _("This is over already."))
            elif ends_at > self._now + LONGEST_SILENCE:
                self.add_error(
                    "at", _("Use at most a year; what nobody wants to hear of ever needs another threshold.")
                )
        elif "until" in cleaned:
            cleaned["ends_at"] = self._now + SILENT_FOR[cleaned["until"]]
        return cleaned

    def _typed(self, at: datetime | None, zone: str) -> datetime | None:
        """What was typed, in the zone in which the page shows times; a page without script says none: the person's."""
        try:
            return at.replace(tzinfo=ZoneInfo(zone)) if at and zone else at
        except (LookupError, ValueError, OSError):  # no such zone, or a path
            return at

    def chosen_metric(self) -> Metric | None:
        name = self.cleaned_data["metric"]
        return Metric.objects.filter(name=name).first() if name else None


class CommentForm(forms.Form):
    text = forms.CharField(label=gettext_lazy("Comment"), max_length=LONGEST_COMMENT, widget=forms.Textarea)


def metrics_of(incident: Incident) -> list[tuple[str, str]]:
    """(name, label) of what is wrong, the worst first; one query."""
    names = Problem.objects.filter(incident=incident).order_by("-resolved_at", "level_rank", "began_at", "pk")
    return [(name, metric_label(name)) for name in dict.fromkeys(names.values_list("metric", flat=True))]
