"""Python imports this by its name when it starts with this folder on PYTHONPATH.

time.sleep waits by clock_nanosleep for an absolute moment of the steady clock; libfaketime 0.9.10 (Debian 12) takes
that for a moment of the clock that it fakes, and every sleep fails with EINVAL.
"""

import select
import time
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex, /) -> None:
    if float(seconds) < 0:
        raise ValueError("sleep length must be non-negative")
    select.select((), (), (), float(seconds))


time.sleep = sleep
