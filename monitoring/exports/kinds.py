"""The kinds of exports: a new one is a module here and a word in ExportKind."""

from __future__ import annotations

from monitoring.exports import history, logs
from monitoring.exports.portion import Kind
from monitoring.models.export import Export, ExportKind

KINDS: dict[str, Kind] = {ExportKind.HISTORY: history, ExportKind.LOGS: logs}


def kind_of(export: Export) -> Kind:
    return KINDS[export.kind]


def content_type(export: Export) -> str:
    return kind_of(export).CONTENT_TYPES[export.format]
