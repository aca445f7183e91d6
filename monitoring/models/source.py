"""Where numbers come from: sources that collectors read, and the simulation's switch."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from monitoring.models.server import Server


class Collector(models.TextChoices):
    HOST = "host", _("This machine")
    PROMETHEUS = "prometheus", _("Prometheus endpoint")
    HTTP = "http", _("HTTP check")
    TCP = "tcp", _("TCP check")
    POSTGRES = "postgres", _("PostgreSQL")
    REDIS = "redis", _("Redis")
    DOCKER = "docker", _("Docker")
    KUBERNETES = "kubernetes", _("Kubernetes")
    GCP = "gcp", _("Google Cloud Monitoring")


CHECKS = (Collector.HTTP, Collector.TCP)
"""Their complaint is what is wrong with the server, not with reading it."""


class Source(models.Model):
    """One thing that a collector goes and reads for a server, and how that went last time.

    The second half is written by `monitoring.collectors.run` alone. A run is claimed by moving `due_at` to the end of
    its lease; a worker killed meanwhile therefore only delays the next run. `sealed_secret` is the password, token or
    key, encrypted (`portal.toolkit.secrets`): it is never shown again, and no part of the history of edits.
    `error` is a stored sentence (`portal.toolkit.sentence`) of at most `run.MAX_ERROR` characters.
    """

    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="sources", verbose_name=_("server"))
    collector = models.CharField(_("collector"), max_length=20, choices=Collector.choices)
    url = models.CharField(_("URL"), max_length=500, blank=True)
    interval_s = models.PositiveSmallIntegerField(
        _("interval in seconds"), default=15, validators=[MinValueValidator(5), MaxValueValidator(3600)]
    )
    timeout_s = models.PositiveSmallIntegerField(
        _("time-out in seconds"), default=10, validators=[MinValueValidator(1), MaxValueValidator(60)]
    )
    sample_limit = models.PositiveIntegerField(
        _("sample limit"), default=5000, help_text=_("An answer with more samples is refused whole.")
    )
    keep_everything = models.BooleanField(
        _("keep every series"),
        default=False,
        help_text=_("Also what the catalogue does not know, with its labels; otherwise only catalogue metrics."),
    )
    options = models.JSONField(
        _("options"), default=dict, blank=True, help_text=_("What this kind of source needs besides its URL.")
    )
    sealed_secret = models.TextField(blank=True, editable=False)
    paused = models.BooleanField(_("paused"), default=False)

    due_at = models.DateTimeField(db_default=Now(), editable=False)
    ok_at = models.DateTimeField(_("last success"), null=True, editable=False)
    error = models.TextField(_("last error"), blank=True, editable=False)
    error_at = models.DateTimeField(_("failed at"), null=True, editable=False)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0, editable=False)
    duration_ms = models.PositiveIntegerField(_("took (ms)"), null=True, editable=False)
    samples = models.PositiveIntegerField(_("samples"), null=True, editable=False)

    history = HistoricalRecords(
        excluded_fields=["sealed_secret", "due_at", "ok_at", "error", "error_at", "failures", "duration_ms", "samples"]
    )

    class Meta:
        indexes = [models.Index(fields=["due_at"], condition=models.Q(paused=False), name="source_due")]
        constraints = [
            models.UniqueConstraint(fields=["server", "collector", "url"], name="source_once_per_server"),
        ]
        verbose_name = _("source")
        verbose_name_plural = _("sources")

    def __str__(self) -> str:
        return f"{self.get_collector_display()} {self.url}".strip()

    def clean(self) -> None:
        """A URL for those who are read by one, and only for them. May ask the DNS for up to 2 s."""
        from monitoring.collectors.options import needs_of

        self.url = self.url.strip()
        needs, wrong = needs_of(self.collector), {}
        least, most = needs.every_s
        if not least <= self.interval_s <= most:
            every = _("This kind of source is read every %(least)d to %(most)d s.")
            wrong["interval_s"] = ValidationError(every % {"least": least, "most": most})
        try:
            needs.check(self.url)
        except ValidationError as error:
            wrong["url"] = error
        if wrong:
            raise ValidationError(wrong)


class Simulation(models.Model):
    """The one row that says whether the simulated fleet generates, and until when it has."""

    paused = models.BooleanField(_("paused"), default=False)
    generated_until = models.DateTimeField(_("generated until"), null=True, editable=False)

    history = HistoricalRecords(excluded_fields=["generated_until"])

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="one_simulation")]
        verbose_name = _("simulation")
        verbose_name_plural = _("simulation")

    def __str__(self) -> str:
        return str(_("Simulation"))
