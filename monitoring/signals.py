"""What monitoring tells others. A signal is only a wake-up: what it speaks of is already committed."""

from __future__ import annotations

from django.dispatch import Signal

samples_recorded = Signal()
"""Sent after `history.record` committed, with `batch_id: int`."""
