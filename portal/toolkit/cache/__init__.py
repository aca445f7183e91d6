"""The smart cache: answers that cost something are made once for many askers, and the last good one is never lost.

In the memory of each process, and in Redis for all of them. Everything here may be emptied at any moment. A key names
the audience that may see the answer: who may see less must have another key.
"""

from __future__ import annotations

from portal.toolkit.cache.entry import Entry, Given, Kind
from portal.toolkit.cache.smart import SmartCache

__all__ = ["Entry", "Given", "Kind", "SmartCache", "cache"]

cache = SmartCache()
"""The process's one."""
