"""HTTP over a unix socket of this machine, with the deadline and the caps of `portal.toolkit.http`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpcore

from portal.toolkit.http import Fetched, ask
from portal.toolkit.targets import Deadline
from portal.toolkit.wire import dial_unix, in_words

_ORIGIN = httpcore.Origin(b"http", b"localhost", 80)


def fetch_unix(path: str, target: str, *, timeout_s: float | Deadline, max_bytes: int) -> Fetched:
    """GET `target` (path and query) from whoever listens at the socket `path`. Raises FetchError, as `fetch` does."""
    deadline = timeout_s if isinstance(timeout_s, Deadline) else Deadline(timeout_s)
    connection = httpcore.HTTPConnection(_ORIGIN, uds=path, network_backend=_UnixNetwork(deadline))
    with in_words(path, deadline), connection:
        return ask(connection, _ORIGIN, target.encode(), {"Host": "localhost", "Accept": "*/*"}, max_bytes)


class _UnixNetwork(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        return dial_unix(path, self._deadline)
