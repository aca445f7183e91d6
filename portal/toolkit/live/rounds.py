"""Questions to the database, many in one go: what ten thousand who come at once ask for, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from portal.toolkit.live.admission import in_thread

MOST_A_ROUND = 200

Q = TypeVar("Q")
A = TypeVar("A")


class Rounds(Generic[Q, A]):
    """Whoever asks while a round is under way is in the next one, so no answer is older than its question.

    `answer` runs in a thread with a database connection and gives one answer for each question, in their order.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Sequence[A]]) -> None:
        self._answer = answer
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """Raises what `answer` raises, then for all of that round."""
        told: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, told))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="live-rounds")
        return await told

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._round([self._waiting.popleft() for _ in range(min(MOST_A_ROUND, len(self._waiting)))])
        finally:
            self._running = None

    async def _round(self, asked: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await in_thread(partial(self._answer, [question for question, _ in asked]))
        except Exception as error:  # theirs, who wait for it
            for _, told in asked:
                if not told.done():
                    told.set_exception(error)
            return
        for (_, told), answer in zip(asked, answers, strict=True):
            if not told.done():  # else its socket is gone already
                told.set_result(answer)


class OfThisLoop(Generic[Q, A]):
    """One `Rounds` for each event loop that asks."""

    def __init__(self, answer: Callable[[Sequence[Q]], Sequence[A]]) -> None:
        self._answer = answer
        self._of: WeakKeyDictionary[asyncio.AbstractEventLoop, Rounds[Q, A]] = WeakKeyDictionary()

    async def ask(self, question: Q) -> A:
        loop = asyncio.get_running_loop()
        rounds = self._of.get(loop)
        if rounds is None:
            rounds = self._of[loop] = Rounds(self._answer)
        return await rounds.ask(question)
