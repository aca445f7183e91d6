"""Many small questions to one target at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

THREADS = 8

T = TypeVar("T")
R = TypeVar("R")


def together(work: Callable[[T], R], items: Sequence[T], *, threads: int = THREADS) -> list[R]:
    """`work` of each item, in their order; whatever one of them raises is raised once all have ended.

    The threads are daemons, so that a target that hangs does not keep a worker from stopping; `work` ends by itself.
    """
    results: dict[int, R] = {}
    errors: list[Exception] = []
    waiting = iter(range(len(items)))
    taking = threading.Lock()

    def run() -> None:
        while not errors:
            with taking:
                number = next(waiting, None)
            if number is None:
                return
            try:
                results[number] = work(items[number])
            except Exception as error:
                errors.append(error)

    crew = [threading.Thread(target=run, daemon=True) for _ in range(min(threads, len(items)))]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(items))]
