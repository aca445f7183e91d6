"""The floors of the house: portal/toolkit <- monitoring <- alerts <- portal. Walked with ast, so lazy imports count."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ["portal.toolkit", "monitoring", "alerts", "portal"]
"""Lowest first; a module may import from its own floor and from those below."""
OPEN_TO_ALERTS = {"models", "queries", "signals", "topics", "access", "states"}
STDLIB_ONLY = {"portal.bootstrap"}
"""What runs before there is an environment to import from."""


def test_every_import_goes_down() -> None:
    wrong = [complaint for path in _modules() for complaint in complaints(_name(path), path.read_text())]
    assert wrong == []


def test_the_walk_sees_every_floor() -> None:
    seen = {floor_of(_name(path)) for path in _modules()}
    assert {"portal.toolkit", "monitoring", "portal"} <= seen
    assert len(list(_modules())) > 40


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("portal.toolkit.cache", "from monitoring.models import Server"),
        ("portal.toolkit.cache", "def f():\n    import portal.settings"),
        ("portal.toolkit.cache", "from portal.celery import app"),
        ("monitoring.queries", "import alerts.models"),
        ("monitoring.queries", "from alerts import models"),
        ("monitoring.queries", "from portal.accounts.models import User"),
        ("monitoring.queries", "from portal import api"),
        ("monitoring.views.fleet", "from ...portal import api"),
        ("alerts.incidents", "from monitoring.history.record import record"),
        ("alerts.incidents", "from monitoring import hot"),
        ("portal.bootstrap", "import django"),
    ],
)
def test_a_wrong_import_is_named(module: str, source: str) -> None:
    assert len(complaints(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("portal.toolkit.cache", "from portal.toolkit.redis import client"),
        ("portal.toolkit.cache", "from portal.toolkit import redis"),
        ("monitoring.queries", "from portal.toolkit import redis\nfrom monitoring import hot\nfrom . import access"),
        ("alerts.incidents", "from monitoring.models import Server\nfrom monitoring import access, states"),
        ("portal.api", "from alerts import models\nimport monitoring.history.read"),
        ("portal.bootstrap", "import os\nfrom portal import bootstrap"),
    ],
)
def test_a_right_import_is_left_alone(module: str, source: str) -> None:
    assert complaints(module, source) == []


def complaints(module: str, source: str) -> list[str]:
    return [f"{module} imports {imported}" for imported in _imports(module, source) if not _may(module, imported)]


def floor_of(module: str) -> str | None:
    """The most particular floor that `module` is on; None for other people's packages."""
    on = [floor for floor in FLOORS if module == floor or module.startswith(floor + ".")]
    return max(on, key=len, default=None)


def _may(module: str, imported: str) -> bool:
    here, there = floor_of(module), floor_of(imported)
    if module in STDLIB_ONLY:
        return there is not None or imported.split(".")[0] in sys.stdlib_module_names
    if here is None or there is None or imported == "portal":
        return True
    if here == "alerts" and there == "monitoring":
        return imported == "monitoring" or imported.split(".")[1] in OPEN_TO_ALERTS
    return FLOORS.index(there) <= FLOORS.index(here)


def _imports(module: str, source: str) -> Iterator[str]:
    """What `source` imports, in full; `from a import b` counts as a.b where that may be a module of ours."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            yield from sorted({_target(base, alias.name) for alias in node.names})


def _target(base: str, name: str) -> str:
    """`from portal import api` is portal.api; `from portal.api import thing` stays portal.api."""
    return f"{base}.{name}" if base in {"portal", "monitoring", "alerts", "portal.toolkit", ""} else base


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parent = module.split(".")[: -node.level]
    return ".".join([*parent, *([node.module] if node.module else [])])


def _modules() -> Iterator[Path]:
    for top in ("portal", "monitoring", "alerts"):
        yield from sorted(path for path in (ROOT / top).rglob("*.py") if "migrations" not in path.parts)


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
