"""Servers, what they measure, and who may see them."""

from monitoring.models.access import Membership, Role, ServerGroup
from monitoring.models.history import (
    SLOTS_PER_BLOCK,
    Batch,
    Chunk,
    Horizon,
    LateFrame,
    Rollup,
    Segment,
    Series,
    WarmFrame,
)
from monitoring.models.intake import Job, PushReceipt, PushToken
from monitoring.models.keeping import KEPT, Export, ExportPart, ExportState, Retention, Trimmed
from monitoring.models.metric import Metric
from monitoring.models.server import PROFILE_PARTS, Server, ServerKind, ServerState, ServerTemplate
from monitoring.models.source import CHECKS, Collector, Simulation, Source

__all__ = [
    "CHECKS",
    "KEPT",
    "PROFILE_PARTS",
    "SLOTS_PER_BLOCK",
    "Batch",
    "Chunk",
    "Collector",
    "Export",
    "ExportPart",
    "ExportState",
    "Horizon",
    "Job",
    "LateFrame",
    "Membership",
    "Metric",
    "PushReceipt",
    "PushToken",
    "Retention",
    "Role",
    "Rollup",
    "Segment",
    "Series",
    "Server",
    "ServerGroup",
    "ServerKind",
    "ServerState",
    "ServerTemplate",
    "Simulation",
    "Source",
    "Trimmed",
    "WarmFrame",
]
