"""What the portal follows of logs by itself, without an agent."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class Followed(models.TextChoices):
    JOURNAL = "journal", _("The journal")
    FILES = "files", _("Log files of the machine")
    OWN = "own", _("OpenManager's own processes")


class FollowedLog(models.Model):
    """How far one kind of log was read on one machine that workers of the portal run on.

    `place` is the follower's own memory (a cursor, offsets of files): it moves when the lines are committed.
    `problem` is a stored sentence, "" when all can be read.
    """

    machine = models.CharField(_("machine"), max_length=200)
    what = models.CharField(_("what"), max_length=10, choices=Followed.choices)
    place = models.JSONField(default=dict, editable=False)
    lines = models.BigIntegerField(_("lines"), default=0)
    read_at = models.DateTimeField(_("last line"), null=True)
    problem = models.TextField(_("problem"), blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["machine", "what"], name="followed_log_once")]
        ordering = ["machine", "what"]
        verbose_name = _("followed log")
        verbose_name_plural = _("followed logs")

    def __str__(self) -> str:
        return f"{self.machine}: {self.get_what_display()}"
