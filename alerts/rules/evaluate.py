"""The evaluator: numbers in, changes of phase out. Pure: live it gets a column, a what-if gets days.

A watch is one series looked at in one direction. It has two latches, warning and critical. A latch is *breached* by a
value beyond its limit; it is *held* once that has lasted as long as its rule's "for" asks, and from then on until a
value reaches the clearing value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from alerts.rules.observation import Phase

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

NEVER = -(2**62)
"""Stands for "no instant". Far from every instant, yet a distance to it still fits 64 bits."""
WARNING, CRITICAL = 0, 1
"""The rows of arrays that have one for each latch."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What n watches ask for.

    `sign[n]` is 1 where values above the limit are bad, -1 where those below are. `limits[2, n]` are multiplied by it,
    so that more is always worse; +inf stands for "no limit". A held latch is let go at `clears[2, n]`, which is at most
    its limit. `for_ms[n]` is how long a limit must be broken; after a pause longer than `gap_ms[n]` that starts anew.
    """

    sign: Floats
    limits: Floats
    clears: Floats
    for_ms: Ints
    gap_ms: Ints

    def take(self, watches: NDArray[np.intp]) -> Rules:
        return Rules(
            self.sign[watches],
            self.limits[:, watches],
            self.clears[:, watches],
            self.for_ms[watches],
            self.gap_ms[watches],
        )


@dataclass(frozen=True, slots=True)
class State:
    """How n watches stand.

    `evaluated_to[n]` is the newest instant that was evaluated; `since[2, n]` since when each latch has been breached
    (NEVER: it is not); `held[2, n]`; `peak[n]` is the worst value since it began, NaN while nothing is breached.
    """

    evaluated_to: Ints
    since: Ints
    held: Flags
    peak: Floats

    @classmethod
    def fresh(cls, count: int) -> Self:
        """Watches that have seen nothing yet."""
        return cls(
            np.full(count, NEVER, np.int64),
            np.full((2, count), NEVER, np.int64),
            np.zeros((2, count), np.bool_),
            np.full(count, np.nan),
        )

    def take(self, watches: NDArray[np.intp]) -> State:
        return State(self.evaluated_to[watches], self.since[:, watches], self.held[:, watches], self.peak[watches])

    def put(self, watches: NDArray[np.intp], other: State) -> None:
        """Let these watches stand as they do in `other`."""
        self.evaluated_to[watches] = other.evaluated_to
        self.since[:, watches] = other.since
        self.held[:, watches] = other.held
        self.peak[watches] = other.peak

    def copy(self) -> State:
        return State(self.evaluated_to.copy(), self.since.copy(), self.held.copy(), self.peak.copy())

    def phases(self) -> Ints:
        """The `Phase` of each watch. Who is critical is not shown as warning, too."""
        begun = np.where((self.since != NEVER).any(axis=0), Phase.PENDING, Phase.FINE)
        warned = np.where(self.held[WARNING], Phase.WARNING, begun)
        return np.where(self.held[CRITICAL], Phase.CRITICAL, warned).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Transitions:
    """Changes of phase, in the order of time for each watch.

    Watch `watch[m]` went from `before[m]` to `after[m]` at `at_ms[m]` with `value[m]`. `since[2, m]`, `held[2, m]` are
    as after that; so is `peak[m]`, but where it is over it is the peak of what is over.
    """

    watch: NDArray[np.intp]
    at_ms: Ints
    before: Ints
    after: Ints
    value: Floats
    since: Ints
    held: Flags
    peak: Floats

    def __len__(self) -> int:
        return len(self.watch)


def evaluate(rules: Rules, state: State, at_ms: Ints, values: Floats) -> tuple[State, Transitions]:
    """How n watches stand after k more samples each, and every change of phase on the way.

    `at_ms[n, k]`, `values[n, k]`: the k-th new sample of each watch, ascending; NaN where it has none. What is not
    newer than `evaluated_to` changes nothing. Cutting the columns anywhere gives the same answer. `state` stays as it
    is.
    """
    state = state.copy()
    found = [_step(rules, state, at_ms[:, column], values[:, column]) for column in range(values.shape[1])]
    return state, _together(found)


def _step(rules: Rules, state: State, at_ms: Ints, values: Floats) -> Transitions:
    """Take one sample of each watch into `state`."""
    new = np.flatnonzero(~np.isnan(values) & (at_ms > state.evaluated_to))
    if not len(new):
        return _no_transitions()
    rules, at_ms, values = rules.take(new), at_ms[new], values[new]
    was = state.take(new)
    now = _after(rules, was, at_ms, values * rules.sign)
    state.put(new, now)
    before, after = was.phases(), now.phases()
    changed = np.flatnonzero(before != after)
    ended = after[changed] == Phase.FINE
    return Transitions(
        new[changed],
        at_ms[changed],
        before[changed],
        after[changed],
        values[changed],
        now.since[:, changed],
        now.held[:, changed],
        np.where(ended, was.peak[changed], now.peak[changed]),
    )


def _after(rules: Rules, was: State, at_ms: Ints, worse: Floats) -> State:
    """One sample each; `worse[n]` are the values multiplied by `sign`."""
    silent = at_ms - was.evaluated_to > rules.gap_ms
    # What has not lasted long enough yet must last without a break; what is held, silence does not let go.
    since = np.where(silent & ~was.held, NEVER, was.since)
    since = np.minimum(since, at_ms)  # the clock was set back
    on = (since != NEVER).any(axis=0)
    breached = worse > rules.limits
    since = np.where(breached & (since == NEVER), at_ms, since)
    lasted = breached & (at_ms - since >= rules.for_ms)
    held = np.where(was.held, worse > rules.clears, lasted | breached & _handed_on(rules, was))
    since = np.where(held | breached, since, NEVER)
    peak = np.fmax(np.where(on, was.peak * rules.sign, np.nan), worse) * rules.sign
    return State(at_ms, since, held, np.where((since != NEVER).any(axis=0), peak, np.nan))


def _handed_on(rules: Rules, was: State) -> Flags:
    """Latches that need not wait, as the other one was held: it can only be gone because the rule changed.

    A critical value breaks the warning limit, too, and for as long; only without that limit is it the other way round.
    """
    other = was.held[::-1].copy()
    other[CRITICAL] &= np.isinf(rules.limits[WARNING])
    return other


def _together(found: list[Transitions]) -> Transitions:
    found = [one for one in found if len(one)] or [_no_transitions()]
    if len(found) == 1:
        return found[0]
    return Transitions(
        np.concatenate([one.watch for one in found]),
        np.concatenate([one.at_ms for one in found]),
        np.concatenate([one.before for one in found]),
        np.concatenate([one.after for one in found]),
        np.concatenate([one.value for one in found]),
        np.concatenate([one.since for one in found], axis=1),
        np.concatenate([one.held for one in found], axis=1),
        np.concatenate([one.peak for one in found]),
    )


def _no_transitions() -> Transitions:
    state = State.fresh(0)
    none = state.evaluated_to
    return Transitions(none.astype(np.intp), none, none, none, state.peak, state.since, state.held, state.peak)
