"""A few threads for work that needs the database, asked for by an event loop, with a bounded queue before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

T = TypeVar("T")


class FullError(Exception):
    """As many wait as may."""


class Pool:
    """Threads for work that needs Django's database connections; at most `queued` wait for one of them."""

    def __init__(self, threads: int, queued: int, name: str) -> None:
        self._most = threads + queued
        self._under_way = 0
        self._executor = ThreadPoolExecutor(threads, name)

    async def run(self, work: Callable[[], T]) -> T:
        if self._under_way >= self._most:
            raise FullError
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _with_connections, work)
        finally:
            self._under_way -= 1


def _with_connections(work: Callable[[], T]) -> T:
    try:
        return work()
    finally:
        connections.close_all()  # the pool keeps them
