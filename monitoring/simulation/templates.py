"""The templates of the simulated fleet: what each kind of server measures and how loaded it is.

A profile row is (base, daily, weekly, noise) in the metric's unit: the mean over a week, the amplitudes of the daily
and weekly rhythm, and the size of the noise. Constants such as totals have a base alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.models import PROFILE_PARTS, ServerKind, ServerTemplate

Row = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Template:
    name: str
    kind: ServerKind
    share: int
    """How many of 30 simulated servers are of this template."""
    profile: dict[str, Row]
    depends_on: tuple[str, ...] = ()


def _system(
    cpu: Row, memory: Row, disk: float, rx: Row, tx: Row, cores: int, memory_mb: int, disk_mb: int
) -> dict[str, Row]:
    """The metrics that every server has."""
    return {
        "cpu": cpu,
        "memory": memory,
        "disk": (disk, 0.4, 0.8, 0.3),
        "net_rx": rx,
        "net_tx": tx,
        "load1": (cpu[0] * cores / 110, cpu[1] * cores / 110, 0.1, cores * 0.08),
        "swap": (3.0, 0.5, 0.5, 0.8),
        "disk_read": (180.0, 60.0, 20.0, 90.0),
        "disk_write": (420.0, 140.0, 40.0, 160.0),
        "connections": (120.0, 60.0, 15.0, 20.0),
        "processes": (210.0, 6.0, 2.0, 5.0),
        "cpu_cores": (cores, 0, 0, 0),
        "memory_total": (memory_mb, 0, 0, 0),
        "disk_total": (disk_mb, 0, 0, 0),
    }


TEMPLATES: list[Template] = [
    Template(
        "web", ServerKind.WEB, 9,
        _system((34, 16, 4, 7), (52, 6, 2, 2), 41, (2200, 1200, 300, 420), (5400, 2900, 700, 900), 4, 8_192, 81_920)
        | {
            "response_p50": (42, 12, 3, 6), "response_p95": (180, 60, 14, 30), "throughput": (310, 180, 40, 45),
            "error_rate": (0.3, 0.1, 0.05, 0.2), "active_users": (420, 260, 60, 50),
        },
        ("app", "cache"),
    ),
    Template(
        "app", ServerKind.APP, 8,
        _system((46, 15, 4, 8), (63, 5, 2, 2), 48, (1500, 700, 150, 260), (1900, 900, 200, 300), 8, 16_384, 163_840)
        | {
            "response_p50": (65, 16, 4, 8), "response_p95": (260, 80, 18, 40), "throughput": (220, 120, 30, 35),
            "error_rate": (0.4, 0.1, 0.05, 0.25), "orders": (32, 18, 6, 5), "signups": (4.2, 2.4, 0.8, 1.0),
            "revenue": (1280, 760, 210, 190), "conversion": (2.6, 0.4, 0.2, 0.25),
        },
        ("database", "cache", "queue"),
    ),
    Template(
        "database", ServerKind.DATABASE, 4,
        _system((39, 13, 3, 6), (74, 3, 1, 1), 63, (1800, 800, 150, 250), (2600, 1200, 220, 350), 16, 65_536, 1_048_576)
        | {
            "db_connections": (140, 60, 12, 14), "query_time": (6.5, 2.2, 0.5, 1.2),
            "db_cache_hit": (98.6, 0.4, 0.1, 0.3), "db_locks": (2, 1.2, 0.3, 1.4),
            "replication_lag": (0.4, 0.2, 0.05, 0.25),
        },
    ),
    Template(
        "cache", ServerKind.CACHE, 3,
        _system((22, 8, 2, 4), (68, 4, 1, 1), 22, (3100, 1500, 260, 400), (4200, 2100, 320, 520), 4, 32_768, 40_960)
        | {"cache_hit": (94, 1.5, 0.4, 0.9), "cache_ops": (8200, 4100, 700, 900), "evictions": (3, 2, 0.5, 2)},
    ),
    Template(
        "queue", ServerKind.QUEUE, 2,
        _system((18, 7, 2, 4), (44, 3, 1, 1), 35, (900, 450, 80, 140), (950, 460, 80, 150), 4, 16_384, 81_920)
        | {"queue_depth": (85, 50, 12, 40), "queue_age": (1.4, 0.8, 0.2, 0.9), "queue_rate": (140, 75, 15, 22)},
    ),
    Template(
        "storage", ServerKind.STORAGE, 2,
        _system((15, 5, 1, 3), (49, 2, 1, 1), 72, (5200, 2200, 400, 700), (6100, 2600, 450, 800), 8, 32_768, 8_388_608),
    ),
    Template(
        "load-balancer", ServerKind.LOAD_BALANCER, 2,
        _system((24, 12, 3, 4), (31, 2, 1, 1), 18, (9800, 5600, 900, 1100), (10400, 5900, 950, 1200), 4, 8_192, 40_960)
        | {
            "throughput": (2600, 1500, 320, 260), "response_p50": (3.1, 0.7, 0.2, 0.4), "response_p95": (12, 3, 1, 2),
            "error_rate": (0.2, 0.08, 0.03, 0.12), "active_users": (3600, 2100, 420, 260),
        },
        ("web",),
    ),
]  # fmt: skip


def ensure_templates() -> dict[str, ServerTemplate]:
    """Write templates that are missing; an admin's edits of the others stay."""
    stored = {}
    for template in TEMPLATES:
        profile = {metric: dict(zip(PROFILE_PARTS, row, strict=True)) for metric, row in template.profile.items()}
        stored[template.name], created = ServerTemplate.objects.get_or_create(
            name=template.name, defaults={"kind": template.kind, "profile": profile}
        )
        if created and template.depends_on:
            stored[template.name].depends_on.set(ServerTemplate.objects.filter(name__in=template.depends_on))
    return stored
