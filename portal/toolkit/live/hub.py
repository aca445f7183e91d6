"""The hub: one per event loop. Hears what was touched, renders it once, gives each socket what it watches."""

from __future__ import annotations

import asyncio
import gc
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import structlog

from portal.toolkit.live.clients import Clients
from portal.toolkit.live.feed import Feed
from portal.toolkit.live.fragment import GONE, Fragment, gone
from portal.toolkit.live.frame import Piece
from portal.toolkit.live.portions import Batch, Deliveries, Step, batches_of, portions, stale_of
from portal.toolkit.live.recheck import Rechecker
from portal.toolkit.live.renderer import Renderer, jobs_of
from portal.toolkit.live.schedule import Schedule
from portal.toolkit.live.timing import delays, lag_s
from portal.toolkit.live.topic import Address
from portal.toolkit.live.touch import COMMITTED
from portal.toolkit.live.watcher import BEAT_EVERY_S, Watcher

TICK_S = 1.0
LINGER_S = 30.0
"""How long a hub without sockets stays: a person going from page to page need not start it anew each time."""
BLIND_LOOK_S = 5.0
"""How often everything is rendered again while nobody can say what changed, or after a topic raised."""
LOW_S = 60.0
"""How often what can wait is rendered and sent at the most."""
LOOK_S = 60.0
"""How often a fragment that nobody touched is rendered again, in case a touch was lost in a way unknown to us."""
GATHER_S, GATHER_MOST_S = 0.005, 0.04
"""Touches are gathered until none has come for this long, but no longer than that: what one tick of the collectors
reads is committed within some milliseconds, and who misses the frame waits a second for the next."""
SOON = 300
"""So many fragments are rendered before anybody would notice who came first: with fewer, nobody asks what is urgent."""
GARBAGE = (50_000, 10, 10)
"""Fragments leave no cycles behind, and a thousand of them a second made the collector a tenth of all work."""
SLOW_S, STUCK_S = 5.0, 10.0
"""A send that takes this long is followed by whole state; one that takes this long ends the socket."""

logger = structlog.get_logger(__name__)
_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


class Hub:
    """Everything here runs in the loop's thread, but rendering and the look at rights. The fan-out needs no database,
    no lock and no channel layer.
    """

    def __init__(self) -> None:
        self.epoch = secrets.token_hex(4)
        self.watchers: set[Watcher] = set()
        self._fragments: dict[str, dict[str, dict[str, Fragment]]] = defaultdict(dict)  # topic -> key -> language
        self._clock = asyncio.get_running_loop().time
        self._schedule = Schedule()
        self._touches = 0
        self._touched_at_ms = 0
        self._health = "ok"
        self._looked_blindly_at = 0.0
        self._rendering_since: float | None = None
        self.rechecker = Rechecker()
        self.clients = Clients(self.epoch)
        self._renderer = Renderer()
        self._feed = Feed(
            on_touched=self._on_touched, on_control=self._on_control, on_gap=self._on_gap, on_lost=self._check_health
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._linger: asyncio.TimerHandle | None = None

    @classmethod
    def of_this_loop(cls) -> Hub:
        """The running loop's hub, started if need be. It stops some time after its last socket left."""
        loop = asyncio.get_running_loop()
        hub = _hubs.get(loop)
        if hub is None:
            hub = _hubs[loop] = cls()
            hub._start()
        return hub

    def _start(self) -> None:
        gc.freeze()  # the loaded code: looking through it again stops every socket for 50-170 ms each time
        gc.set_threshold(*GARBAGE)
        telling = self.clients.tell_for_ever(lambda: self._health)
        work = (self._feed.run(), self._flush_for_ever(), self._tick_for_ever(), self.rechecker.run(), telling)
        self._tasks = [asyncio.create_task(job) for job in work]

    async def _stop_if_idle(self) -> None:
        if not self.watchers:
            await self.stop()

    async def stop(self) -> None:
        """End the tasks, the subscription and the rendering thread; the loop's next socket starts a new hub."""
        _hubs.pop(asyncio.get_running_loop(), None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._renderer.close()

    @property
    def is_hearing(self) -> bool:
        """Whether touches reach this hub now."""
        return self._feed.is_on

    # --- Sockets ----------------------------------------------------------------------------------------------------

    def join(self, watcher: Watcher) -> None:
        """From now on `watcher` gets what it watches; first its whole state and a beat."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        watcher.on_free = self._make_due
        watcher.beat_at = 0.0
        self.watchers.add(watcher)
        self._make_due(watcher)

    def leave(self, watcher: Watcher) -> None:
        self.watchers.discard(watcher)
        watcher.close()
        self.unwatch(watcher, [fragment.address for fragment in watcher.watched])
        if not self.watchers and self._linger is None:
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(LINGER_S, lambda: asyncio.ensure_future(self._stop_if_idle()))

    def watch(self, watcher: Watcher, addresses: Iterable[Address]) -> None:
        """Watch these canonical addresses, each already admitted; their whole state follows."""
        new: dict[Fragment, None] = {}
        for address in addresses:
            keys = self._fragments[address.topic]
            languages = keys.setdefault(address.key, {})
            fragment = languages.get(watcher.language)
            if fragment is None:
                fragment = languages[watcher.language] = Fragment(address, watcher.language)
            if fragment not in watcher.watched:
                fragment.add(watcher)
                new[fragment] = None
        watcher.watch(new, self._clock())
        self._make_due(watcher)

    def unwatch(self, watcher: Watcher, addresses: Iterable[Address]) -> None:
        dropped: list[Fragment] = []
        for address in addresses:
            languages = self._fragments[address.topic].get(address.key, {})
            fragment = languages.get(watcher.language)
            if fragment is None or fragment not in watcher.watched:
                continue
            dropped.append(fragment)
            fragment.discard(watcher)
            if not fragment.audience:
                del languages[watcher.language]
                if not languages:
                    del self._fragments[address.topic][address.key]
        watcher.unwatch(dropped)

    def set_pace(self, watcher: Watcher, pace_s: float) -> None:
        """At most one frame every `pace_s` seconds; what a faster pace allows goes at once."""
        watcher.pace_s = pace_s
        self._make_due(watcher)

    # --- What changed -----------------------------------------------------------------------------------------------

    def _on_touched(self, said: Any) -> None:
        if not isinstance(said, dict):
            return
        self._touched_at_ms = now_ms = time.time_ns() // 1_000_000
        committed_at = self._clock() - lag_s(said.pop(COMMITTED, now_ms), now_ms)
        touched: list[Fragment] = []
        for topic, keys in said.items():
            watched = self._fragments.get(topic)
            if watched and (keys is None or isinstance(keys, list)):
                for key in watched if keys is None else map(str, keys):
                    touched += watched.get(key, {}).values()
        self._touch(touched, committed_at)

    def _on_gap(self) -> None:
        """Touches and orders may have been missed."""
        self.touch_all()
        self._on_control({"missed": True})

    def touch_all(self) -> None:
        """Whole state for everybody."""
        self._touch(self._every_fragment())
        self._check_health()

    def _touch(self, fragments: Iterable[Fragment], committed_at: float | None = None) -> None:
        """Those that the same sockets watch, as the cards of a screen are, are marked in one go."""
        now = self._clock()
        alike: dict[tuple[bool, frozenset[Watcher]], dict[Fragment, None]] = {}
        for fragment in fragments:
            self._touches += 1
            fragment.touched = self._touches
            if fragment.is_low and now - fragment.looked_at < LOW_S:
                continue  # `_look_again` takes it up when its time is over
            alike.setdefault((fragment.is_low, fragment.audience), {})[fragment] = None
        for (is_low, watchers), changed in alike.items():
            for watcher in watchers:
                is_first = watcher.mark(changed, now, committed_at, is_low=is_low)  # else it is scheduled, or busy
                if is_first and watcher in self.watchers:
                    self._schedule.add(watcher, now)

    def _every_fragment(self) -> list[Fragment]:
        return [f for keys in self._fragments.values() for languages in keys.values() for f in languages.values()]

    def _on_control(self, said: Any) -> None:
        if isinstance(said, dict):
            for watcher in list(self.watchers):
                watcher.on_control(said)

    # --- Frames -----------------------------------------------------------------------------------------------------

    def _make_due(self, watcher: Watcher) -> None:
        if watcher in self.watchers:
            self._schedule.add(watcher, self._clock())

    async def _flush_for_ever(self) -> None:
        while True:
            ready = await self._schedule.next_ready()
            await self._gather()
            try:
                await self._flush(ready, self._clock())
            except Exception:  # the worker's loop: nobody would get anything any more
                logger.exception("live flush broke")
                await asyncio.sleep(TICK_S)
                self.touch_all()
                for watcher in self.watchers:
                    self._make_due(watcher)

    async def _gather(self) -> None:
        deadline = self._clock() + GATHER_MOST_S
        touches = -1
        while touches != self._touches and self._clock() < deadline:
            touches = self._touches
            await asyncio.sleep(GATHER_S)

    async def _flush(self, ready: Iterable[Watcher], now: float) -> None:
        batches = batches_of(ready, now)
        stale = stale_of(batches)
        urgent = await self._renderer.urgent(stale) if len(stale) >= SOON else frozenset[Fragment]()
        for portion in portions(batches, urgent):
            if portion.stale:
                await self._render(portion.stale)
            self._send_out(portion.batches, now)
            await asyncio.sleep(0)  # others want the loop too

    async def _render(self, stale: Iterable[Fragment]) -> None:
        """Bring `stale` up to date, each topic in one call; what a failing topic should have rendered stays stale."""
        jobs = jobs_of(stale)
        up_to = self._touches
        self._rendering_since = self._clock()
        done = await self._renderer.render({job: list(fragments) for job, fragments in jobs.items()})
        self._rendering_since = None
        now = self._clock()
        for job, renderings in done.items():
            for key, fragment in jobs[job].items():
                rendering = renderings.get(key)
                fragment.rendered = up_to
                if rendering is None:
                    fragment.update(gone(fragment.address), GONE, now=now)
                else:
                    fragment.update(rendering.html, rendering.content, now=now)

    def _send_out(self, batches: Iterable[Batch], now: float) -> None:
        """Post what each watcher has not had yet of its batch, and the beat when it is time, if that is anything.

        Who gets the same, gets the same frame.
        """
        beat = Piece(self._beat())
        for batch in batches:
            deliveries = Deliveries(batch.fragments, beat)
            sent: Counter[float | None] = Counter()
            for watcher in batch.watchers:
                if watcher not in self.watchers:
                    continue
                if watcher.sending_since is not None:  # with an earlier part of the same batch
                    watcher.put_back(batch.fragments)
                else:
                    sent[self._deliver(watcher, deliveries.after(watcher.watched), now, goes_on=batch.goes_on)] += 1
            for committed_at, frames in sent.items():
                if committed_at is not None:
                    delays.note(self._clock() - committed_at, frames)

    def _deliver(self, watcher: Watcher, step: Step, now: float, *, goes_on: bool) -> float | None:
        """Gives what `Watcher.post` does."""
        committed_at = None
        delivery, watcher.watched = step.delivery, step.watched
        has_beat = watcher.beat_at <= now and not (delivery.rest or goes_on)
        if has_beat:
            watcher.beat_at = now + BEAT_EVERY_S
        frame = delivery.with_beat if has_beat else delivery.plain
        if frame is not None:
            committed_at = watcher.post(frame, is_beat=delivery.is_beat)
        watcher.is_behind = goes_on
        if delivery.rest:
            watcher.put_back(delivery.rest)
        if watcher.unsent or watcher.low:
            self._make_due(watcher)
        return committed_at

    def _beat(self) -> str:
        return (
            f'<div id="live-beat" hidden data-epoch="{self.epoch}" data-at="{time.time_ns() // 1_000_000}" '
            f'data-touched="{self._touched_at_ms}" data-health="{self._health}"></div>'
        )

    # --- Once a second ----------------------------------------------------------------------------------------------

    async def _tick_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock()
            try:
                self._look_again(now)
                self._see_after_sockets(now)
                self._check_health()
            except Exception:  # the worker's loop: no beat at all would be worse than whatever this is
                logger.exception("live tick broke")

    def _look_again(self, now: float) -> None:
        """Touch what nobody touched but may have changed."""
        blind = now - self._looked_blindly_at >= BLIND_LOOK_S
        if blind:
            self._looked_blindly_at = now
        again: list[Fragment] = []
        for fragment in self._every_fragment():
            unknown = self._feed.is_lost or fragment.address.topic in self._renderer.failing
            overdue = not fragment.is_stale and now - fragment.looked_at >= LOOK_S
            waits = fragment.is_low and fragment.is_stale and now - fragment.looked_at >= LOW_S
            if (blind and unknown) or overdue or waits or fragment.needs_restamp(now):
                again.append(fragment)
        self._touch(again)

    def _see_after_sockets(self, now: float) -> None:
        for watcher in list(self.watchers):
            since = watcher.sending_since
            if since is None:
                if watcher.beat_at <= now:
                    self._make_due(watcher)
            elif now - since >= STUCK_S:
                watcher.on_stalled()
            elif now - since >= SLOW_S:
                watcher.forget_what_was_sent()

    def _check_health(self) -> None:
        """Tell every socket at once when it changes: a page must not look live when it is not."""
        hangs = self._rendering_since is not None and self._clock() - self._rendering_since > BLIND_LOOK_S
        health = "degraded" if self._feed.is_lost or self._renderer.failing or hangs else "ok"
        if health != self._health:
            self._health = health
            for watcher in self.watchers:
                watcher.beat_at = 0.0
                self._make_due(watcher)
