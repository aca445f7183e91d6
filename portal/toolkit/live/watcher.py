"""One open socket as the hub sees it: what it watches, how often it may be sent to, and whether it takes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import structlog

from portal.toolkit.live.fragment import Fragment
from portal.toolkit.live.frame import Frame
from portal.toolkit.live.timing import delays

PACES_S = {"high": 1.0, "1": 1.0, "5": 5.0, "15": 15.0, "30": 30.0, "60": 60.0}
BEAT_EVERY_S = 10.0

NEVER = float("-inf")
SLACK_S = 0.02
"""A frame may be this much early, and is counted as if on time."""

GIVE_S = 0.08
"""A sender that ticks once a second, and once was early, would find its sockets waiting at every later tick. So after a
wait that was not most of the pace the next frame may come this much sooner: 0.9 s between two frames at the least, and
one a second in the long run, as who touches all the time waits the whole pace."""

SMALL = 4
"""A frame of less than one in so many of what is watched, after a quiet second, leaves room for one more at once: what
most of a screen waits for must not stand back a second because one card was a moment earlier. One a second in the long
run, all the same."""

CATCH_UP_S = 1.0
"""The pace counts from the touch, not from when a busy machine got round to it, up to this much: otherwise one hiccup
would make every later frame late too. Nor do the first frame and lone beats count, for the same reason."""

NOTHING: Mapping[Fragment, None] = {}

Send = Callable[[Frame], Awaitable[object] | None]
"""Hands a frame over: None when it is under way, else what is done once the next may follow."""

logger = structlog.get_logger(__name__)


def nobody(*_said: object) -> None:
    """Who is told of a socket that is gone."""


class Watcher:
    """At most one frame is under way; what changes meanwhile is remembered by name only and rendered when it can be
    sent. So a slow socket costs one frame of memory and gets the newest state, never a backlog.

    Lives in its event loop's thread. Only a socket that does not take its frame at once costs a task, until it has.
    """

    __slots__ = (
        "_committed_at",
        "_counts_from",
        "_gives_s",
        "_paced_from",
        "_send",
        "_sending",
        "_unsent_committed_at",
        "_unsent_since",
        "beat_at",
        "frames",
        "is_behind",
        "language",
        "low",
        "on_control",
        "on_free",
        "on_stalled",
        "pace_s",
        "queued_at",
        "sending_since",
        "unsent",
        "watched",
    )

    def __init__(
        self,
        send: Send,
        *,
        language: str,
        on_control: Callable[[dict[str, Any]], None],
        on_stalled: Callable[[], None],
    ) -> None:
        self._send = send
        self.language = language
        self.on_control = on_control
        self.on_stalled = on_stalled
        self.on_free: Callable[[Watcher], None] = lambda _watcher: None  # the hub's, once it has joined
        # These three are shared by sockets that are in step, as those of one screen are: replaced, never changed.
        self.watched: Mapping[Fragment, int] = {}
        """Each with the serial that was sent last; 0 = nothing yet."""
        self.unsent: Mapping[Fragment, None] = NOTHING
        """What changed since; in order, so that sockets of the same screen get the very same frame."""
        self.low: Mapping[Fragment, None] = NOTHING
        """The same of what can wait: it goes when nothing else does, and the pace counts without it."""
        self.is_behind = False
        """Whether what is unsent is the rest of a frame that would have been too long: the pace does not hold it."""
        self.pace_s = PACES_S["high"]
        self.frames = 0
        self.beat_at = 0.0
        self.sending_since: float | None = None
        self.queued_at: float | None = None
        """Where in the schedule's heap it waits."""
        self._paced_from = NEVER
        self._unsent_since = self._counts_from = self._gives_s = 0.0
        self._unsent_committed_at: float | None = None
        """The oldest commit of what is unsent; None when it is no commit that made it so."""
        self._committed_at: float | None = None
        """That of what was taken last."""
        self._sending: asyncio.Future[None] | None = None

    @property
    def ready_at(self) -> float:
        """When the next frame may go, in the loop's time: with what is unsent, or earlier with a beat alone."""
        if self.is_behind or (self.low and not self.unsent):
            return NEVER
        data_at = self._paced_from + self.pace_s - SLACK_S if self.unsent else self.beat_at
        return data_at if data_at < self.beat_at else self.beat_at

    def watch(self, fragments: Iterable[Fragment], now: float) -> None:
        """Watch these too; none is watched yet."""
        new = list(fragments)
        self.watched = {**self.watched, **dict.fromkeys(new, 0)}
        for is_low in (False, True):
            if some := {fragment: None for fragment in new if fragment.is_low is is_low}:
                self.mark(some, now, is_low=is_low)

    def unwatch(self, fragments: Iterable[Fragment]) -> None:
        gone = set(fragments)
        self.watched = {fragment: serial for fragment, serial in self.watched.items() if fragment not in gone}
        self.unsent = {fragment: None for fragment in self.unsent if fragment not in gone}
        self.low = {fragment: None for fragment in self.low if fragment not in gone}

    def take_unsent(self, now: float) -> Mapping[Fragment, None]:
        """What the next frame should carry; nothing while the pace does not allow it."""
        if self.low and not self.unsent:
            self._committed_at = None
            taken, self.low = self.low, NOTHING
            return taken
        if self._paced_from + self.pace_s - SLACK_S > now and not self.is_behind:
            return NOTHING
        taken, self.unsent = self.unsent, NOTHING
        self._committed_at, self._unsent_committed_at = self._unsent_committed_at, None
        is_small = SMALL * len(taken) < len(self.watched)
        self._counts_from = max(self._unsent_since, now - CATCH_UP_S) - is_small * self.pace_s
        self._gives_s = GIVE_S if now - self._unsent_since < 0.8 * self.pace_s else 0.0
        return taken

    def mark(
        self, changed: Mapping[Fragment, None], now: float, committed_at: float | None = None, *, is_low: bool = False
    ) -> bool:
        """Remember that these changed, all low or none, with a commit at that time of the loop if with any; whether
        they are the first that wait to be sent."""
        if is_low:
            is_first = not (self.unsent or self.low)
            self.low = {**self.low, **changed}
            return is_first
        is_first = not self.unsent
        if is_first:
            self._unsent_since = now
        if self._unsent_committed_at is None:
            self._unsent_committed_at = committed_at
        self.unsent = changed if is_first else {**self.unsent, **changed}
        return is_first

    def put_back(self, fragments: Iterable[Fragment]) -> None:
        """These were to go with the last frame; they go as soon as the socket takes them."""
        self.low = {**{fragment: None for fragment in fragments if fragment.is_low}, **self.low}
        rest = {fragment: None for fragment in fragments if not fragment.is_low}
        self.unsent = {**rest, **self.unsent}
        self.is_behind |= bool(rest)

    def forget_what_was_sent(self) -> None:
        """From now on as after a fresh connect: whole state, as soon as the socket takes it."""
        self.watched = dict.fromkeys(self.watched, 0)
        self.unsent = {fragment: None for fragment in self.watched if not fragment.is_low}
        self.low = {fragment: None for fragment in self.watched if fragment.is_low}

    def post(self, frame: Frame, *, is_beat: bool) -> float | None:
        """Hand over the next frame. None may be under way.

        Gives the oldest commit in it if it has gone already: of many frames together it is noted how long they took.
        """
        assert self.sending_since is None
        if not (is_beat or self.is_behind):
            counts_from, paced_from = self._counts_from, self._paced_from + self.pace_s - self._gives_s
            if self._paced_from == NEVER:
                counts_from -= PACES_S["high"]
            self._paced_from = paced_from if paced_from > counts_from else counts_from
        if is_beat:
            self._committed_at = None
        self.frames += 1
        taken = self._send(frame)
        if taken is None:
            return self._committed_at
        self.sending_since = asyncio.get_running_loop().time()
        self._sending = asyncio.ensure_future(self._wait_for(taken))
        return None

    def close(self) -> None:
        """Wait for nothing any more, and let go of those who are told: else only the collector would free them all."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        self._send = self.on_control = self.on_stalled = self.on_free = nobody

    async def _wait_for(self, taken: Awaitable[object]) -> None:
        try:
            await taken
        except OSError:
            return  # the other side is gone: it stays busy until it leaves
        except Exception:  # else nobody would ever look at this task
            logger.exception("live socket does not send")
            self.on_stalled()
            return
        if self._committed_at is not None:
            delays.note(asyncio.get_running_loop().time() - self._committed_at)
        self.sending_since = self._sending = None
        if self.unsent or self.low:
            self.on_free(self)
