"""Incidents: what went wrong on a server, from the first bad sample to the last mail about it."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils.translation import gettext_lazy as _

from alerts.models.threshold import Level, Threshold
from monitoring.models import Series, Server, ServerGroup


class Condition(models.TextChoices):
    """In which way a series is wrong."""

    ABOVE = "above", _("above its limit")
    BELOW = "below", _("below its limit")
    NO_DATA = "no_data", _("no data")


class IncidentStatus(models.TextChoices):
    """The life of an incident, in order. Pending: broken, but not yet for as long as its threshold asks."""

    PENDING = "pending", _("Pending")
    FIRING = "firing", _("Firing")
    ACKNOWLEDGED = "acknowledged", _("Acknowledged")
    RESOLVED = "resolved", _("Resolved")


class ProblemStatus(models.TextChoices):
    PENDING = "pending", _("Pending")
    FIRING = "firing", _("Firing")
    RESOLVED = "resolved", _("Resolved")


def _rank(field: str) -> models.GeneratedField:
    return models.GeneratedField(
        expression=Case(
            *(When(**{field: level}, then=Value(rank)) for rank, level in enumerate(Level)), default=Value(99)
        ),
        output_field=models.SmallIntegerField(),
        db_persist=True,
    )


class Incident(models.Model):
    """One event: all that is wrong with one server at a time. At most one of a server is open.

    Written by `alerts.incidents` alone. What people were told survives the server, its group and the thresholds:
    names are kept beside the keys. `level` is the worst of what is firing now (once resolved: of what was),
    `peak_level` the worst ever. A pending incident that recovers is deleted: nobody was told of it.
    """

    server = models.ForeignKey(Server, on_delete=models.SET_NULL, null=True, related_name="incidents")
    server_name = models.CharField(_("server"), max_length=200)
    group = models.ForeignKey(ServerGroup, on_delete=models.SET_NULL, null=True, related_name="incidents")
    simulated = models.BooleanField(_("simulated"), default=False)
    status = models.CharField(_("status"), max_length=12, choices=IncidentStatus.choices)
    level = models.CharField(_("level"), max_length=10, choices=Level.choices)
    level_rank = _rank("level")
    peak_level = models.CharField(_("worst level"), max_length=10, choices=Level.choices)
    began_at = models.DateTimeField(_("began"))
    fired_at = models.DateTimeField(_("fired"), null=True)
    resolved_at = models.DateTimeField(_("resolved"), null=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("owner")
    )
    acknowledged_at = models.DateTimeField(_("acknowledged"), null=True)
    acknowledged_until = models.DateTimeField(_("acknowledged until"), null=True)
    acknowledged_reason = models.CharField(_("reason"), max_length=300, blank=True)

    class Meta:
        ordering = ["-began_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["server"], condition=Q(resolved_at__isnull=True), name="one_open_incident_per_server"
            ),
        ]
        indexes = [
            models.Index(fields=["-began_at", "-id"], name="incident_newest_first"),
            models.Index(fields=["group", "-began_at", "-id"], name="incident_group_newest"),
            models.Index(fields=["status"], condition=Q(resolved_at__isnull=True), name="incident_open"),
        ]
        verbose_name = _("incident")
        verbose_name_plural = _("incidents")

    def __str__(self) -> str:
        return f"#{self.pk} {self.server_name}"

    def get_absolute_url(self) -> str:
        from django.urls import reverse

        return reverse("alerts:incident", args=[self.pk])


class Problem(models.Model):
    """One series that is wrong in one way: a member of an incident, and the evaluator's memory of it.

    There is an open row exactly while a watch (series, condition) is not fine. `began_at` is the instant of the first
    bad sample; `warning_since`, `critical_since` say since when the value has been beyond each limit without a break,
    `warning_held`, `critical_held` whether that level holds (its "for" is over, its clearing value not reached).
    `metric`, `labels`, `limit`, `unit` are copies: a mail must be able to say them when the rest is gone. `peak` is the
    worst value so far in the direction of the condition; `value` is the one that fired it. `ended_because` is a stored
    sentence (portal.toolkit.sentence) when it was not the value that ended it.
    """

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="problems")
    server = models.ForeignKey(Server, on_delete=models.SET_NULL, null=True, related_name="+")
    series = models.ForeignKey(Series, on_delete=models.SET_NULL, null=True, related_name="+")
    threshold = models.ForeignKey(Threshold, on_delete=models.SET_NULL, null=True, related_name="+")
    condition = models.CharField(max_length=7, choices=Condition.choices)
    metric = models.CharField(max_length=200)
    labels = models.TextField(blank=True)
    unit = models.CharField(max_length=20, blank=True)
    status = models.CharField(max_length=8, choices=ProblemStatus.choices)
    level = models.CharField(max_length=10, choices=Level.choices)
    level_rank = _rank("level")
    began_at = models.DateTimeField()
    fired_at = models.DateTimeField(null=True)
    resolved_at = models.DateTimeField(null=True)
    warning_since = models.DateTimeField(null=True)
    critical_since = models.DateTimeField(null=True)
    warning_held = models.BooleanField(default=False)
    critical_held = models.BooleanField(default=False)
    value = models.FloatField(null=True)
    limit = models.FloatField(null=True)
    peak = models.FloatField(null=True)
    last_value = models.FloatField(null=True)
    ended_because = models.TextField(blank=True)

    class Meta:
        ordering = ["level_rank", "began_at", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["series", "condition"],
                condition=Q(resolved_at__isnull=True),
                name="one_open_problem_per_series_and_condition",
            ),
        ]
        indexes = [models.Index(fields=["server"], condition=Q(resolved_at__isnull=True), name="problem_open")]

    def __str__(self) -> str:
        return f"{self.metric} {self.condition}"


class What(models.TextChoices):
    """What an entry of an incident's time line says."""

    BEGAN = "began", _("Limit broken")
    FIRED = "fired", _("Fired")
    JOINED = "joined", _("Joined by")
    RAISED = "raised", _("Level rose")
    LOWERED = "lowered", _("Level fell")
    CLEARED = "cleared", _("Cleared")
    RESOLVED = "resolved", _("Resolved")
    ACKNOWLEDGED = "acknowledged", _("Acknowledged")
    RELEASED = "released", _("Acknowledgement taken back")
    EXPIRED = "expired", _("Acknowledgement ran out")
    SILENCED = "silenced", _("Silenced")
    UNSILENCED = "unsilenced", _("Silence ended")
    COMMENTED = "commented", _("Comment")
    # Decisions about one person
    QUEUED = "queued", _("Mail queued")
    FOLDED = "folded", _("No further mail: part of the same event")
    WITHHELD = "withheld", _("Not mailed: silenced")
    SKIPPED = "skipped", _("Not mailed")
    ACCEPTED = "accepted", _("Mail accepted")
    DEFERRED = "deferred", _("Mail put off")
    BOUNCED = "bounced", _("Mail refused for good")


DECISIONS = frozenset(
    {What.QUEUED, What.FOLDED, What.WITHHELD, What.SKIPPED, What.ACCEPTED, What.DEFERRED, What.BOUNCED}
)


class Entry(models.Model):
    """One line of an incident's time line: what happened or was decided, by whom, about whom.

    `by` acted (None: the portal); `about` is the person a decision concerns, with `about_name` as it was then.
    `text` is a stored sentence (portal.toolkit.sentence); of a comment it is what the person wrote, shown as it is.
    """

    incident = models.ForeignKey(Incident, on_delete=models.CASCADE, related_name="entries")
    at = models.DateTimeField()
    what = models.CharField(max_length=12, choices=What.choices)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    by_name = models.CharField(max_length=200, blank=True)
    about = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    about_name = models.CharField(max_length=200, blank=True)
    problem = models.ForeignKey(Problem, on_delete=models.SET_NULL, null=True, related_name="entries")
    level = models.CharField(max_length=10, choices=Level.choices, blank=True)
    text = models.TextField(blank=True)

    class Meta:
        ordering = ["at", "pk"]
        indexes = [
            models.Index(fields=["incident", "at", "id"], name="entry_of_incident"),
            models.Index(fields=["-id"], name="entry_newest", condition=Q(what__in=["fired", "raised", "resolved"])),
        ]
        verbose_name = _("time line entry")
        verbose_name_plural = _("time line entries")

    def __str__(self) -> str:
        return f"{self.at:%F %T} {self.what}"
