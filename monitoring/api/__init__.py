"""What programs read about servers: one router per module, put together by `portal.api`."""

from __future__ import annotations

from ninja import Router

from monitoring.api import dashboard, exports, history, live, logs, performance, servers

ROUTERS: list[Router] = [
    dashboard.router,
    servers.router,
    performance.router,
    history.router,
    exports.router,
    live.router,
    logs.router,
]
"""A new module of this folder joins by its router here. Operations need no rights of their own: who asks is signed in,
`request.user`, a read token's person too; what they may see is `monitoring.access`'s to say."""
