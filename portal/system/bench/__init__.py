"""What `manage.py bench` measures: one module per name, each with `run() -> dict[str, float]`.

Keys are `<name>.<what>_<unit>`. A number stands beside a base line of the same run wherever there is one.
"""

from __future__ import annotations

import pkgutil

LONG = frozenset({"alert_faults", "faults", "soak"})
"""Many minutes each: run when they are named, not by a bare `manage.py bench`."""


def names() -> list[str]:
    """The benchmarks there are: the modules of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
