"""The life of an incident: pending, firing, acknowledged, resolved."""

from alerts.incidents.apply import apply
from alerts.incidents.people import TooLate, acknowledge, comment, release
from alerts.incidents.reflect import reflect
from alerts.incidents.tend import tend

__all__ = ["TooLate", "acknowledge", "apply", "comment", "reflect", "release", "tend"]
