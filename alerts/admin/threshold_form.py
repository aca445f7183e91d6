"""The form of a threshold."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from alerts.admin.doubts import too_short_for
from alerts.admin.reasoned import ReasonedForm
from alerts.admin.show import admin_link, name_instants
from alerts.models import Threshold
from monitoring.models import Metric
from portal.toolkit.quantity import duration

FAMILIES = {
    "system": _("System"),
    "application": _("Application"),
    "database": _("Database"),
    "cache": _("Cache"),
    "queue": _("Queue"),
    "business": _("Business"),
}
OVERRIDE = ("override_until", "override_warning", "override_critical")
IDENTITY = ("metric", "direction", "scope", "kind", "group", "server")


class MetricIterator(forms.models.ModelChoiceIterator):  # type: ignore[type-arg]
    """Metrics under the name of their family, in the catalogue's order; what was only recorded comes last."""

    def __iter__(self) -> Any:
        yield "", self.field.empty_label
        metrics: Iterable[Metric] = self.queryset
        for family, some in groupby(metrics, lambda metric: metric.family):
            label = FAMILIES.get(family, family) if family else _t("As recorded")
            yield str(label), [self.choice(metric) for metric in some]


class MetricField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """Says the unit, in which limits are."""

    iterator = MetricIterator

    def label_from_instance(self, metric: Any) -> str:
        label = _t(metric.label) if metric.label else metric.name
        return f"{label} ({metric.unit})" if metric.unit else label


class ThresholdForm(ReasonedForm):
    metric = MetricField(label=_("Metric"), queryset=Metric.objects.all(), empty_label="---------")

    class Meta:
        model = Threshold
        fields = "__all__"
        help_texts = {
            "direction": _("Which side of the limits is bad."),
            "warning": _("In the metric's unit. Empty: no warning."),
            "critical": _("In the metric's unit. Without any limit it exempts its scope."),
            "override_until": _("Until then the two limits beside this count instead; both empty: no alert."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """An override that is over is forgotten with the next save: it would only be in the way."""
        super().__init__(*args, **kwargs)
        if self.instance.override_until and not self.instance.is_overridden(timezone.now()):
            self.initial.update(dict.fromkeys(OVERRIDE))
        name_instants(self, "override_until")

    def clean(self) -> dict[str, Any]:
        """Of the same metric, direction and scope there is one: the error leads to it."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if set(IDENTITY) <= set(given):
            same = Threshold.objects.filter(**_exact({name: given[name] for name in IDENTITY}))
            other = same.exclude(pk=self.instance.pk).first()
            if other is not None:
                said = format_html(
                    "{} {}", _t("There is such a threshold already, change that one:"), admin_link(other)
                )
                self.add_error("scope", forms.ValidationError(said, code="taken"))
        return given

    def clean_no_data_after_s(self) -> int | None:
        seconds: int | None = self.cleaned_data["no_data_after_s"]
        asked = Threshold(scope=self.cleaned_data.get("scope", ""), no_data_after_s=seconds)
        least_s = too_short_for(asked, self.cleaned_data.get("server"))
        if least_s is not None:
            text = _t("Use at least %(time)s: three readings of this server.")
            raise forms.ValidationError(text % {"time": duration(least_s)}, code="short")
        return seconds


def _exact(values: dict[str, Any]) -> dict[str, Any]:
    """As arguments of a filter: None is NULL."""
    return {
        f"{name}__isnull" if value is None else name: True if value is None else value for name, value in values.items()
    }
