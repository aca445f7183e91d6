"""A program that reads server-sent events, as one would write it with the standard library."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.test import Client


@dataclass(frozen=True)
class Event:
    name: str
    id: str
    data: str

    def json(self) -> Any:
        return json.loads(self.data)


class Stream:
    def __init__(self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection) -> None:
        self.response = response
        self._connection = connection

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> Any:
        return self.response.headers

    def events(self, within_s: float = 10) -> Iterator[Event]:
        """Until the server ends; TimeoutError when nothing comes for so long."""
        assert self._connection.sock is not None
        self._connection.sock.settimeout(within_s)
        fields: dict[str, list[str]] = {}
        while line := self.response.readline():
            text = line.decode().rstrip("\n")
            if text:
                name, _, value = text.partition(":")
                fields.setdefault(name, []).append(value.removeprefix(" "))
            elif "event" in fields:
                yield Event(fields["event"][0], fields["id"][0], "\n".join(fields["data"]))
                fields = {}
            else:
                fields = {}

    def next(self, *names: str, within_s: float = 10) -> Event:
        """The next event of one of these names; without names any."""
        started = time.monotonic()
        for event in self.events(within_s):
            if not names or event.name in names:
                return event
            assert time.monotonic() - started < within_s, f"{event} came, but no {names}"
        raise AssertionError(f"the stream ended without {names}")

    def body(self) -> Any:
        return json.loads(self.response.read())


@contextmanager
def open_stream(
    port: int, client: Client | None, query: str = "", method: str = "GET", **headers: str
) -> Iterator[Stream]:
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client.cookies.items()) if client else ""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        sent = ({"Cookie": cookies} if cookies else {}) | {name.replace("_", "-"): v for name, v in headers.items()}
        connection.request(method, f"/api/monitoring/stream?{query}", headers=sent)
        yield Stream(connection.getresponse(), connection)
    finally:
        connection.close()
