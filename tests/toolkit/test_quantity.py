"""Numbers with their unit, the same in Python and in the browser's script."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import translation

from portal.toolkit.quantity import quantity


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Whatever language the request of an earlier test left active."""
    with translation.override("en"):
        yield


ROOT = Path(__file__).resolve().parents[2]

SAID: list[tuple[float | None, str, str]] = [
    (None, "%", "–"),
    (float("nan"), "ms", "–"),
    (float("inf"), "", "–"),
    (0.0, "%", "0.0%"),
    (42.04, "%", "42.0%"),
    (99.97, "%", "100%"),
    (0.0, "KB/s", "0 KB/s"),
    (340.0, "KB/s", "340 KB/s"),
    (1000.0, "KB/s", "0.98 MB/s"),
    (1536.0, "KB/s", "1.5 MB/s"),
    (2_097_152.0, "KB/s", "2 GB/s"),
    (15_923.0, "MB", "15.5 GB"),
    (0.4, "s", "0.40 s"),
    (119.0, "s", "119 s"),
    (200.0, "s", "3 min 20 s"),
    (15_130.0, "s", "4 h 12 min"),
    (1_047_600.0, "s", "12 d 3 h"),
    (12.3, "ms", "12.3 ms"),
    (1234.0, "ms", "1.2 s"),
    (1_234_567.0, "", "1,234,567"),
    (-3.27, "", "-3.3"),
    (170.0, "req/s", "170 req/s"),
    (868.4, "1/min", "868/min"),
]


@pytest.mark.parametrize(("value", "unit", "said"), SAID)
def test_it_says_a_number_with_its_unit(value: float | None, unit: str, said: str) -> None:
    assert quantity(value, unit) == said


def test_it_says_a_duration_in_korean() -> None:
    with translation.override("ko"):
        assert quantity(15_130.0, "s") == "4시간 12분"


@pytest.mark.skipif(shutil.which("node") is None, reason="the script is compared where node is installed")
def test_the_browser_says_the_same() -> None:
    words = {"day": "%s d", "hour": "%s h", "minute": "%s min", "second": "%s s"}
    asked = [(value, unit) for value, unit, _said in SAID if value is None or math.isfinite(value)]
    script = f"""
      const {{ quantity }} = await import({json.dumps((ROOT / "static/js/quantity.js").as_uri())});
      const asked = {json.dumps(asked)};
      console.log(JSON.stringify(asked.map(([value, unit]) => quantity(value, unit, {json.dumps(words)}))));
    """
    done = subprocess.run(["node", "--input-type=module", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [quantity(value, unit) for value, unit in asked]
