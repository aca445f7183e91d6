"""How far evaluation has come."""

from __future__ import annotations

from django.db import models

from monitoring.models import Server


class Progress(models.Model):
    """Up to which instant each watched series of a server was evaluated.

    `instants` is pairs of little-endian int64: series id, epoch ms. Samples at or before that instant change nothing;
    the sweep for missing data counts from it. The pair of series 0, which there is none of, says since when the server
    has been watched: silence during a pause is nobody's.
    """

    server = models.OneToOneField(Server, on_delete=models.CASCADE, primary_key=True, related_name="+")
    instants = models.BinaryField()

    def __str__(self) -> str:
        return str(self.server_id)


class Watchkeeping(models.Model):
    """One row (pk 1): since when somebody has been looking without a break.

    Silence while the portal itself was away says nothing about a server: it counts from `resumed_at` at the earliest.
    """

    swept_at = models.DateTimeField()
    resumed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"since {self.resumed_at:%F %T}"
