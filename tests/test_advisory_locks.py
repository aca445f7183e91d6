"""Advisory locks are numbers: two modules with the same one would keep each other out without a word."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_advisory_lock_has_a_number_of_its_own() -> None:
    owners: dict[int, list[str]] = defaultdict(list)
    for app in ("alerts", "monitoring", "portal"):
        for path in sorted((ROOT / app).rglob("*.py")):
            for number in re.findall(r"^_LOCK = (\w+)$", path.read_text(), re.MULTILINE):
                owners[int(number, 0)].append(str(path.relative_to(ROOT)))
    assert len(owners) >= 5
    assert [files for files in owners.values() if len(files) > 1] == []
