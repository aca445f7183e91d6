"""What the labels of log lines say: the host, the source, the level; the others are fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from monitoring.ingest.labels import without_port
from monitoring.logs.levels import level_named
from monitoring.logs.line import MAX_FIELD_NAME, MAX_FIELD_VALUE, MAX_FIELDS, MAX_SOURCE, Level
from portal.toolkit.printable import printable

USUAL_HOST_LABEL = "instance"
HOSTS = ("host", "hostname", "host_name", "host.name", "nodename", "node_name", "k8s_node_name", "node", "instance")
SERVICES = ("service_name", "service.name", "service", "app", "application", "job")
"""Stand in for a host that nothing names."""
SOURCES = (
    *("service_name", "service.name", "service", "unit", "systemd_unit", "_systemd_unit", "app", "application"),
    *("app_kubernetes_io_name", "container", "container_name", "k8s_container_name", "component", "workload"),
    *("syslog_identifier", "identifier", "appname", "source", "filename", "file", "path", "job"),
)
LEVELS = ("detected_level", "level", "severity", "severity_text", "loglevel", "log_level", "lvl", "levelname")
NUMBERS = ("priority", "PRIORITY")
"""Levels as the journal numbers them."""
LEFT_OUT = "fields_left_out"
"""A field that counts those for which there was no room."""

_NO_SERVICE = "unknown_service"


class Said(NamedTuple):
    """What lines have in common. "" and None are not said; `service` stands in for a host that is not."""

    host: str = ""
    service: str = ""
    source: str = ""
    level: Level | None = None
    fields: Mapping[str, str] = {}


def said_by(labels: Mapping[str, str], host_label: str = USUAL_HOST_LABEL) -> Said:
    """`host_label` is how the sender's token calls the one with the host, when that is not the usual one."""
    hosts = HOSTS if host_label == USUAL_HOST_LABEL else (host_label, *HOSTS)
    host = _first(labels, hosts)
    source = _first(labels, SOURCES)
    level_label, level = level_by(labels)
    used = {host, source}
    if level is not None and labels[level_label].lower() == level.word:
        used.add(level_label)
    return Said(
        without_port(labels[host].strip()) if host else "",
        labels.get(_first(labels, SERVICES), "").strip(),
        printable(labels.get(source, "").strip(), MAX_SOURCE),
        level,
        fields_of({name: text for name, text in labels.items() if name not in used}),
    )


def own(more: Mapping[str, str]) -> tuple[Level | None, Mapping[str, str]]:
    """The level that the fields of one line say, and those that say something else."""
    label, level = level_by(more)
    if level is None or more[label].lower() != level.word:
        return level, more
    return level, {name: text for name, text in more.items() if name != label}


def level_by(labels: Mapping[str, str]) -> tuple[str, Level | None]:
    """The label that says a level, and which; ("", None) when none does."""
    for label in (*LEVELS, *NUMBERS):
        if label in labels and (level := level_named(labels[label])) is not None:
            return label, level
    return "", None


def fields_of(labels: Mapping[str, str]) -> Mapping[str, str]:
    """As many and as long as a line may have them; empty ones are none."""
    if len(labels) <= MAX_FIELDS and all(
        0 < len(text) <= MAX_FIELD_VALUE and 0 < len(name) <= MAX_FIELD_NAME for name, text in labels.items()
    ):
        return labels
    fields = dict(_cut(labels))
    if len(fields) <= MAX_FIELDS:
        return fields
    kept = dict(list(fields.items())[: MAX_FIELDS - 1])
    return kept | {LEFT_OUT: str(len(fields) - len(kept))}


def _cut(labels: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in labels.items():
        if name and text:
            yield (
                name if len(name) <= MAX_FIELD_NAME else name[: MAX_FIELD_NAME - 1] + "…",
                text if len(text) <= MAX_FIELD_VALUE else text[: MAX_FIELD_VALUE - 1] + "…",
            )


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    """The first of `names` that says something; a service that is not known only when nothing else does."""
    said = [name for name in names if labels.get(name, "").strip()]
    return next((name for name in said if not labels[name].startswith(_NO_SERVICE)), said[0] if said else "")
