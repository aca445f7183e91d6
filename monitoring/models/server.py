"""Servers: the things that are watched, and the templates of simulated ones."""

from __future__ import annotations

import unicodedata
from math import isfinite

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Case, Value, When
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from monitoring.catalogue import BY_NAME
from monitoring.models.access import ServerGroup


class ServerKind(models.TextChoices):
    HOST = "host", _("Host")
    WEB = "web", _("Web")
    APP = "app", _("Application")
    DATABASE = "database", _("Database")
    CACHE = "cache", _("Cache")
    QUEUE = "queue", _("Queue")
    STORAGE = "storage", _("Storage")
    LOAD_BALANCER = "load_balancer", _("Load balancer")
    CONTAINER = "container", _("Container")
    POD = "pod", _("Pod")
    SERVICE = "service", _("Service")


class ServerState(models.TextChoices):
    """The one list of states: database, CSS classes (is-…), API and tests use these words. Worst first."""

    CRITICAL = "critical", _("Critical")
    OFFLINE = "offline", _("Offline")
    WARNING = "warning", _("Warning")
    UNKNOWN = "unknown", _("Unknown")
    PAUSED = "paused", _("Paused")
    HEALTHY = "healthy", _("Healthy")


PROFILE_PARTS = ("base", "daily", "weekly", "noise")


class ServerTemplate(models.Model):
    """The fixed base of a kind of simulated server: what it measures and how loaded it is.

    `profile` maps a catalogue metric's name to {"base", "daily", "weekly", "noise"}, in the metric's unit:
    the mean, the amplitudes of the daily and weekly rhythm, and the size of the correlated noise.
    """

    name = models.SlugField(_("name"), unique=True)
    kind = models.CharField(_("kind"), max_length=20, choices=ServerKind.choices)
    profile = models.JSONField(_("profile"))
    depends_on = models.ManyToManyField("self", symmetrical=False, blank=True, verbose_name=_("depends on"))

    history = HistoricalRecords(m2m_fields=[depends_on])

    class Meta:
        ordering = ["name"]
        verbose_name = _("server template")
        verbose_name_plural = _("server templates")

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """A profile that cannot be generated would stop the whole fleet."""
        if not isinstance(self.profile, dict):
            raise ValidationError({"profile": _("Use one entry per metric.")})
        for metric, parts in self.profile.items():
            if metric not in BY_NAME:
                unknown = _("“%(metric)s” is no metric of the catalogue.")
                raise ValidationError({"profile": unknown % {"metric": metric}})
            if not _is_profile_row(parts):
                needed = _("“%(metric)s” needs these numbers and no other: %(parts)s.")
                raise ValidationError({"profile": needed % {"metric": metric, "parts": ", ".join(PROFILE_PARTS)}})


def _is_profile_row(parts: object) -> bool:
    return isinstance(parts, dict) and set(parts) == set(PROFILE_PARTS) and all(map(_is_number, parts.values()))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def is_one_line(value: str) -> None:
    """Names stand in subjects of mails and in lines of logs."""
    if any(unicodedata.category(letter) == "Cc" for letter in value):
        raise ValidationError(_("Line breaks and control characters cannot be part of a name."))


class Server(models.Model):
    """Something that is watched. `state…` are written by `monitoring.states.set_states` alone.

    `found_by` is the source that lists it (a container, a pod), `gone_at` since when it does so no more;
    `push_interval_s` is how often a server that pushes does so, when known.
    """

    name = models.CharField(_("name"), max_length=200, unique=True, validators=[is_one_line])
    kind = models.CharField(_("kind"), max_length=20, choices=ServerKind.choices, default=ServerKind.HOST)
    group = models.ForeignKey(ServerGroup, on_delete=models.PROTECT, related_name="servers", verbose_name=_("group"))
    description = models.CharField(_("description"), max_length=300, blank=True)
    paused = models.BooleanField(
        _("paused"), default=False, help_text=_("Nothing is collected and no alert is raised.")
    )
    template = models.ForeignKey(
        ServerTemplate,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="servers",
        verbose_name=_("template"),
        help_text=_("Only simulated servers have one."),
    )
    simulated = models.GeneratedField(
        expression=models.Q(template__isnull=False),  # type: ignore[arg-type]  # (the stubs know no Q here)
        output_field=models.BooleanField(),
        db_persist=True,
    )
    created_at = models.DateTimeField(_("added"), auto_now_add=True)
    found_by = models.ForeignKey(
        "monitoring.Source",
        on_delete=models.SET_NULL,
        null=True,
        editable=False,
        related_name="found",
        verbose_name=_("found by"),
    )
    gone_at = models.DateTimeField(_("not found any more since"), null=True, editable=False)
    push_interval_s = models.PositiveIntegerField(_("sends every (s)"), null=True, editable=False)

    state = models.CharField(
        _("state"), max_length=10, choices=ServerState.choices, default=ServerState.UNKNOWN, editable=False
    )
    state_rank = models.GeneratedField(
        expression=Case(
            *(When(state=state, then=Value(rank)) for rank, state in enumerate(ServerState)), default=Value(99)
        ),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )
    state_since = models.DateTimeField(_("since"), auto_now_add=True, editable=False)
    state_reason = models.TextField(_("reason"), blank=True, editable=False)
    seen_at = models.DateTimeField(_("last seen"), null=True, editable=False)

    history = HistoricalRecords(
        excluded_fields=[
            *("state", "state_rank", "state_since", "state_reason", "seen_at", "simulated"),
            *("found_by", "gone_at", "push_interval_s"),
        ]
    )

    class Meta:
        ordering = ["state_rank", "simulated", "name"]
        indexes = [
            models.Index(fields=["state_rank", "simulated", "name"], name="server_worst_first"),
            models.Index(fields=["group", "state_rank", "simulated", "name"], name="server_group_worst_first"),
        ]
        verbose_name = _("server")
        verbose_name_plural = _("servers")

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        from django.urls import reverse

        return reverse("monitoring:server", args=[self.pk])
