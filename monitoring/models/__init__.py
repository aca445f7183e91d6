"""Servers, what they measure, and who may see them."""

from monitoring.models.access import Membership, Role, ServerGroup
from monitoring.models.export import Export, ExportKind, ExportPart, ExportState
from monitoring.models.followed_log import Followed, FollowedLog
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
from monitoring.models.keeping import KEPT, LOGS, Retention, Trimmed
from monitoring.models.log import LogBlock, LogCount, LogPush, LogSieve
from monitoring.models.metric import Metric
from monitoring.models.server import PROFILE_PARTS, Server, ServerKind, ServerState, ServerTemplate
from monitoring.models.source import CHECKS, Collector, Simulation, Source

__all__ = [
    "CHECKS",
    "KEPT",
    "LOGS",
    "PROFILE_PARTS",
    "SLOTS_PER_BLOCK",
    "Batch",
    "Chunk",
    "Collector",
    "Export",
    "ExportKind",
    "ExportPart",
    "ExportState",
    "Followed",
    "FollowedLog",
    "Horizon",
    "Job",
    "LateFrame",
    "LogBlock",
    "LogCount",
    "LogPush",
    "LogSieve",
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
