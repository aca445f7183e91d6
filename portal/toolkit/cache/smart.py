"""One answer for many askers: fresh from memory, stale while a new one is made, made once when there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from hashlib import blake2b
from weakref import ref

import structlog
from django.db import DatabaseError, connections

from portal.toolkit import deadline
from portal.toolkit.breaker import Breaker
from portal.toolkit.cache.counts import Counts
from portal.toolkit.cache.entry import Entry, Given, Kind
from portal.toolkit.cache.memory import Memory
from portal.toolkit.cache.shared import Shared
from portal.toolkit.redis import AWAY

log = structlog.get_logger(__name__)

MEMORY_BYTES = 64 * 1024 * 1024
JOINED_WITHIN_S = 1.0
"""Who asks for a new answer is content with one of this age: nobody can have one made more often."""
WAIT_FOR_OTHERS_S = 5.0
RETRIES_S = (1.0, 2.0, 4.0)
REFRESH_LIMIT_S = 10.0
FLUSH_EVERY_S = 5.0
FAILURES = (DatabaseError, deadline.TooSlowError, *AWAY)
"""What an old answer stands in for; anything else is a mistake and is to be seen."""

Make = Callable[[], bytes]


class SmartCache:
    """Thread-safe. `clock` tells epoch seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.time, memory_bytes: int = MEMORY_BYTES) -> None:
        self.counts = Counts()
        self._clock = clock
        self._memory = Memory(memory_bytes)
        self._shared = Shared()
        self._lock = threading.Lock()
        self._under_way: dict[str, Future[Given]] = {}
        self._refreshing: set[str] = set()
        self._breakers: dict[str, Breaker] = {}
        self._refreshers = ThreadPoolExecutor(max_workers=4, thread_name_prefix="cache-refresh")
        self._housekeeper: threading.Thread | None = None

    def get(self, kind: Kind, key: str, make: Make, *, refresh: bool = False) -> Given:
        """The answer of `key`, which names the audience and every parameter; `make` makes it, from these alone.

        With `refresh` it is at most a second old. Raises what `make` raises when there is no old answer to stand in.
        `make` may also run later in another thread, with a database connection of its own.
        """
        self._keep_house()
        full = f"{kind.name}:{blake2b(key.encode(), digest_size=16).hexdigest()}"
        found, now = self._memory.get(full), self._clock()
        age_s = now - found.made_at if found else 0.0
        if found and age_s < (JOINED_WITHIN_S if refresh else kind.fresh_s):
            given = Given(found, "hit")
        elif found and not refresh and age_s < kind.stale_s:
            self._refresh_behind(kind, full, make)
            given = Given(found, "stale")
        else:
            given = self._once(kind, full, make, now - (JOINED_WITHIN_S if refresh else kind.fresh_s))
        self.counts.add(kind.name, given.how)
        return given

    def breakers(self) -> list[Breaker]:
        """Of each kind that was asked for in this process."""
        return list(self._breakers.values())

    def clear(self) -> None:
        """Forget what this process remembers."""
        self._memory.clear()
        self._breakers.clear()

    def flush(self) -> None:
        """Tell Redis what was counted."""
        self.counts.flush(*self._memory.size())

    # --- Making -------------------------------------------------------------------------------------------------------

    def _once(self, kind: Kind, full: str, make: Make, least_made_at: float) -> Given:
        """Made here, or by who is at it already."""
        with self._lock:
            under_way = self._under_way.get(full)
            if under_way is None:
                mine: Future[Given] = Future()
                self._under_way[full] = mine
        if under_way is not None:
            try:
                entry, how = under_way.result(min(deadline.remaining_s(), REFRESH_LIMIT_S))
            except NotInTime as error:
                raise deadline.TooSlowError from error
            return Given(entry, "kept" if how == "kept" else "joined")
        try:
            given = self._made(kind, full, make, least_made_at)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(given)
            return given
        finally:
            with self._lock:
                del self._under_way[full]

    def _made(self, kind: Kind, full: str, make: Make, least_made_at: float) -> Given:
        """Taken from the other processes, or made; the last good one when that fails."""
        old = self._memory.get(full)
        if kind.shared:
            asked = self._shared.ask(full, least_made_at)
            if asked.entry and asked.entry.made_at >= least_made_at:
                return Given(self._remember(kind, full, asked.entry), "hit")
            if not asked.mine and (other := self._shared.wait(full, least_made_at, WAIT_FOR_OTHERS_S)):
                return Given(self._remember(kind, full, other), "joined")
            old = old or asked.entry
        began = self._clock()
        try:
            with self._breaker(kind):
                entry = Entry(make(), began)
        except Exception as error:
            if kind.shared:
                self._shared.release(full)
            self.counts.add(kind.name, "failed")
            if not isinstance(error, FAILURES) or old is None or began - old.made_at >= kind.kept_s:
                raise
            log.warning("cache_old_answer_given", kind=kind.name, age_s=round(began - old.made_at), error=str(error))
            return Given(old, "kept")
        if kind.shared:
            self._shared.put(full, entry, kind.kept_s)
        return Given(self._remember(kind, full, entry), "made")

    def _remember(self, kind: Kind, full: str, entry: Entry) -> Entry:
        self._memory.put(full, entry, entry.made_at + kind.kept_s)
        return entry

    def _breaker(self, kind: Kind) -> Breaker:
        with self._lock:
            return self._breakers.setdefault(kind.name, Breaker(kind.name, failures=5, rest_s=5.0))

    # --- In the background --------------------------------------------------------------------------------------------

    def _refresh_behind(self, kind: Kind, full: str, make: Make) -> None:
        with self._lock:
            if full in self._refreshing or full in self._under_way:
                return
            self._refreshing.add(full)
        self._refreshers.submit(self._refresh, kind, full, make)

    def _refresh(self, kind: Kind, full: str, make: Make) -> None:
        """Up to four attempts, 1, 2 and 4 seconds after one another."""
        try:
            for pause_s in (*RETRIES_S, None):
                deadline.set_deadline(REFRESH_LIMIT_S)
                with suppress(*FAILURES):
                    if self._once(kind, full, make, self._clock() - kind.fresh_s).how != "kept":
                        self.counts.add(kind.name, "refreshed")
                        return
                if pause_s is not None:
                    time.sleep(pause_s)
        except Exception:
            log.exception("cache_refresh_failed", kind=kind.name)
        finally:
            deadline.set_deadline(None)
            connections.close_all()
            with self._lock:
                self._refreshing.discard(full)

    def _keep_house(self) -> None:
        if self._housekeeper is None or not self._housekeeper.is_alive():
            with self._lock:
                if self._housekeeper is None or not self._housekeeper.is_alive():
                    thread = threading.Thread(target=_house, args=(ref(self),), name="cache-house", daemon=True)
                    self._housekeeper = thread
                    thread.start()

    def tidy(self) -> None:
        """Drop what is over, and tell Redis what was counted."""
        self._memory.sweep(self._clock())
        self.flush()


def _house(kept: ref[SmartCache]) -> None:
    """Every few seconds, for as long as there is a cache."""
    while True:
        time.sleep(FLUSH_EVERY_S)
        cache = kept()
        if cache is None:
            return
        try:
            cache.tidy()
        except Exception:
            log.exception("cache_housekeeping_failed")
        del cache
