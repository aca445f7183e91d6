"""Thresholds, incidents, the people on call, and what was sent to them."""

from alerts.models.delivery import Bounce, Delivery, DeliveryKind, DeliveryStatus
from alerts.models.incident import (
    DECISIONS,
    Condition,
    Entry,
    Incident,
    IncidentStatus,
    Problem,
    ProblemStatus,
    What,
)
from alerts.models.oncall import Rota, RotaMember, Rotation, StandIn, Weekday
from alerts.models.progress import Progress, Watchkeeping
from alerts.models.scope import Scope
from alerts.models.silence import Silence, SilenceKind
from alerts.models.threshold import Direction, Level, Threshold

__all__ = [
    "DECISIONS",
    "Bounce",
    "Condition",
    "Delivery",
    "DeliveryKind",
    "DeliveryStatus",
    "Direction",
    "Entry",
    "Incident",
    "IncidentStatus",
    "Level",
    "Problem",
    "ProblemStatus",
    "Progress",
    "Rota",
    "RotaMember",
    "Rotation",
    "Scope",
    "Silence",
    "SilenceKind",
    "StandIn",
    "Threshold",
    "Watchkeeping",
    "Weekday",
    "What",
]
