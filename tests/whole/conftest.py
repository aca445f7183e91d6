"""A whole portal, once for the tests of what other programs do with one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from portal.embedded.running import RunningPortal, running_portal
from tests.agent.conftest import catcher, machine

__all__ = ["catcher", "machine"]


@pytest.fixture(scope="package")
def portal() -> Iterator[RunningPortal]:
    """With five simulated servers; a test that breaks it starts one of its own."""
    with tempfile.TemporaryDirectory(prefix="om-") as name, running_portal(Path(name) / "var", servers=5) as running:
        yield running
