"""Who may send metrics and lines in, and the jobs that are expected to say that they ran."""

from __future__ import annotations

import uuid

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from monitoring.models.access import ServerGroup
from monitoring.models.server import Server

USE = [
    "used_at",
    "used_from",
    "minute",
    "minute_samples",
    "last_minute_samples",
    "samples",
    "lines",
    "refused",
    "series_count",
    "series_refused_at",
    "series_refused",
]


class PushToken(models.Model):
    """Leave to send metrics and lines of a group's servers. Only the SHA-256 of the token is kept.

    After a rotation the former token is taken until `former_until`. The second half is written by
    `monitoring.ingest.tokens` alone.
    """

    name = models.CharField(_("name"), max_length=100, unique=True, help_text=_("What sends with it."))
    group = models.ForeignKey(
        ServerGroup, on_delete=models.CASCADE, related_name="push_tokens", verbose_name=_("group")
    )
    servers = models.ManyToManyField(
        Server, blank=True, related_name="+", verbose_name=_("servers"), help_text=_("Empty: all of the group.")
    )
    adds_servers = models.BooleanField(
        _("adds servers"), default=True, help_text=_("A host that nobody knows yet joins the group by itself.")
    )
    host_label = models.CharField(
        _("host label"),
        max_length=100,
        default="instance",
        help_text=_("The label of remote_write that names the server; its port is left out."),
    )
    series_budget = models.PositiveIntegerField(
        _("series budget"),
        default=20_000,
        validators=[MinValueValidator(1), MaxValueValidator(10_000_000)],
        help_text=_("More series than that are refused; those that are known are kept."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(_("ends with"), max_length=8, editable=False)
    former_digest = models.CharField(max_length=64, blank=True, editable=False, db_index=True)
    former_until = models.DateTimeField(_("former token until"), null=True, editable=False)
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    used_at = models.DateTimeField(_("last use"), null=True, editable=False)
    used_from = models.CharField(_("from"), max_length=64, blank=True, editable=False)
    minute = models.DateTimeField(null=True, editable=False)
    minute_samples = models.BigIntegerField(default=0, editable=False)
    last_minute_samples = models.BigIntegerField(_("samples a minute"), default=0, editable=False)
    samples = models.BigIntegerField(_("samples"), default=0, editable=False)
    lines = models.BigIntegerField(_("lines"), default=0, editable=False)
    refused = models.BigIntegerField(_("refused"), default=0, editable=False)
    series_count = models.PositiveIntegerField(_("series"), default=0, editable=False)
    series_refused_at = models.DateTimeField(_("series refused at"), null=True, editable=False)
    series_refused = models.CharField(_("series refused"), max_length=300, blank=True, editable=False)

    history = HistoricalRecords(excluded_fields=["digest", "former_digest", *USE], m2m_fields=[servers])

    class Meta:
        ordering = ["name"]
        verbose_name = _("push token")
        verbose_name_plural = _("push tokens")

    def __str__(self) -> str:
        return self.name


class Job(models.Model):
    """A job, for example of cron, that says at /ping/<uuid> that it ran; silence beyond `period_s` is a failure.

    The second half is written by `monitoring.ingest.heartbeat` alone.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(_("name"), max_length=100)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="jobs", verbose_name=_("server"))
    period_s = models.PositiveIntegerField(
        _("period in seconds"), default=86_400, validators=[MinValueValidator(60), MaxValueValidator(366 * 86_400)]
    )
    grace_s = models.PositiveIntegerField(
        _("grace in seconds"), default=3600, validators=[MinValueValidator(10), MaxValueValidator(30 * 86_400)]
    )
    paused = models.BooleanField(_("paused"), default=False)
    created_at = models.DateTimeField(_("added"), auto_now_add=True)

    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    pinged_at = models.DateTimeField(_("last success"), null=True, editable=False)
    failed_at = models.DateTimeField(_("failed at"), null=True, editable=False)
    exit_code = models.PositiveSmallIntegerField(_("exit code"), null=True, editable=False)
    said = models.CharField(_("said"), max_length=500, blank=True, editable=False)
    recorded_at = models.DateTimeField(null=True, editable=False)

    history = HistoricalRecords(
        excluded_fields=["started_at", "pinged_at", "failed_at", "exit_code", "said", "recorded_at"]
    )

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["server", "name"], name="job_once_per_server")]
        verbose_name = _("job")
        verbose_name_plural = _("jobs")

    def __str__(self) -> str:
        return self.name


class PushReceipt(models.Model):
    """The answer that was given to a push with an Idempotency-Key: the same key again gets it, and nothing is kept."""

    token = models.ForeignKey(PushToken, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    body_digest = models.CharField(max_length=64)
    at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True)
    answer = models.JSONField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["token", "key"], name="receipt_once_per_key")]
        indexes = [models.Index(fields=["at"], name="receipt_at")]

    def __str__(self) -> str:
        return f"{self.token_id} {self.key}"
