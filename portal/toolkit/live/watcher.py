"""One open socket as the hub sees it: what it watches, how often it may be sent to, and the task that sends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from portal.toolkit.live.fragment import Fragment

PACES_S = {"high": 1.0, "1": 1.0, "5": 5.0, "15": 15.0, "30": 30.0, "60": 60.0}
BEAT_EVERY_S = 10.0

NEVER = float("-inf")
SLACK_S = 0.02
"""A frame may be this much early, and is counted as if on time."""

GIVE_S = 0.08
"""A sender that ticks once a second, and once was early, would find its sockets waiting at every later tick. So after a
wait that was not most of the pace the next frame may come this much sooner: 0.9 s between two frames at the least, and
one a second in the long run, as who touches all the time waits the whole pace."""

CATCH_UP_S = 1.0
"""The pace counts from the touch, not from when a busy machine got round to it, up to this much: otherwise one hiccup
would make every later frame late too. Nor do the first frame and lone beats count, for the same reason."""


class Watcher:
    """At most one frame is under way; what changes meanwhile is remembered by name only and rendered when it can be
    sent. So a slow socket costs one frame of memory and gets the newest state, never a backlog.

    Lives in its event loop's thread.
    """

    __slots__ = (
        "_counts_from",
        "_frame",
        "_gives_s",
        "_paced_from",
        "_posted",
        "_send",
        "_unsent_since",
        "beat_at",
        "frames",
        "language",
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
        send: Callable[[str], Awaitable[None]],
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
        self.watched: dict[Fragment, int] = {}
        """Each with the serial that was sent last; 0 = nothing yet."""
        self.unsent: set[Fragment] = set()
        self.pace_s = PACES_S["high"]
        self.frames = 0
        self.beat_at = 0.0
        self.sending_since: float | None = None
        self.queued_at: float | None = None
        """Where in the schedule's heap it waits."""
        self._paced_from = NEVER
        self._unsent_since = self._counts_from = self._gives_s = 0.0
        self._frame = ""
        self._posted = asyncio.Event()

    @property
    def is_busy(self) -> bool:
        return self._frame != "" or self.sending_since is not None

    @property
    def ready_at(self) -> float:
        """When the next frame may go, in the loop's time: with what is unsent, or earlier with a beat alone."""
        return min(self.beat_at, self._data_at - SLACK_S) if self.unsent else self.beat_at

    @property
    def _data_at(self) -> float:
        """When the pace allows the next frame with data."""
        return self._paced_from + self.pace_s

    def take_unsent(self, now: float) -> set[Fragment]:
        """What the next frame should carry; nothing while the pace does not allow it."""
        if self._data_at - SLACK_S > now:
            return set()
        taken, self.unsent = self.unsent, set()
        self._counts_from = max(self._unsent_since, now - CATCH_UP_S)
        self._gives_s = GIVE_S if now - self._unsent_since < 0.8 * self.pace_s else 0.0
        return taken

    def mark(self, fragment: Fragment, now: float) -> bool:
        """Remember that `fragment` changed; whether it is the first that waits to be sent."""
        is_first = not self.unsent
        if is_first:
            self._unsent_since = now
        self.unsent.add(fragment)
        return is_first

    def forget_what_was_sent(self) -> None:
        """From now on as after a fresh connect: whole state, as soon as the socket takes it."""
        self.watched = dict.fromkeys(self.watched, 0)
        self.unsent = set(self.watched)

    def post(self, frame: str, *, is_beat: bool) -> None:
        """Hand the next frame to the sending task. The watcher must not be busy."""
        assert not self.is_busy
        if not is_beat:
            paced_from = self._data_at - self._gives_s
            first_from = self._counts_from - PACES_S["high"]
            self._paced_from = first_from if self._paced_from == NEVER else max(paced_from, self._counts_from)
        self._frame = frame
        self._posted.set()

    async def run(self) -> None:
        """Send frames until cancelled, or until sending raises because the other side is gone."""
        loop = asyncio.get_running_loop()
        while True:
            await self._posted.wait()
            self._posted.clear()
            frame, self._frame = self._frame, ""
            self.sending_since = loop.time()
            await self._send(frame)
            del frame  # not kept until the next: a whole screen can be 100 KB, times every socket
            self.sending_since = None
            self.frames += 1
            if self.unsent:
                self.on_free(self)
