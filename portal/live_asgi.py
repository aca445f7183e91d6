"""What is pushed to pages, as a process of its own beside those that render them."""

from __future__ import annotations

from portal.asgi import application as everything
from portal.toolkit.live.apart import live_only

application = live_only(everything)
