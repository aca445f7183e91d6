"""The evaluator against an obvious one that takes a sample at a time, and cut wherever one likes."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.rules.evaluate import CRITICAL, NEVER, WARNING, Floats, Ints, Rules, State, Transitions, evaluate
from alerts.rules.observation import Phase

FINE, PENDING, WARNED, BROKEN = Phase.FINE, Phase.PENDING, Phase.WARNING, Phase.CRITICAL
T = 1_700_000_000_000
SECOND = 1000


@dataclass
class Rule:
    """One watch's rule in plain words; a clearing value of None is the limit itself."""

    above: bool = True
    warning: float | None = None
    critical: float | None = None
    clear: float | None = None
    for_s: int = 0
    gap_s: int = 60


class PlainWatch:
    """The reference: one watch, one sample after the other, no arithmetic that needs thinking about."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.limits = [rule.warning, rule.critical]
        self.evaluated_to: int | None = None
        self.since: list[int | None] = [None, None]
        self.held = [False, False]
        self.peak: float | None = None

    def is_beyond(self, value: float, limit: float | None) -> bool:
        if limit is None:
            return False
        return value > limit if self.rule.above else value < limit

    def clearing(self, limit: float) -> float:
        given = [one for one in self.limits if one is not None]
        first = min(given) if self.rule.above else max(given)
        return limit if self.rule.clear is None else limit - (first - self.rule.clear)

    def phase(self) -> Phase:
        if self.held[CRITICAL]:
            return BROKEN
        if self.held[WARNING]:
            return WARNED
        return PENDING if self.since != [None, None] else FINE

    def take(self, at: int, value: float) -> tuple[Phase, Phase, float | None] | None:
        """(before, after, peak) when the phase changed."""
        if isnan(value) or (self.evaluated_to is not None and at <= self.evaluated_to):
            return None
        before, peak_before = self.phase(), self.peak
        is_silent = self.evaluated_to is None or at - self.evaluated_to > self.rule.gap_s * SECOND
        for latch in (WARNING, CRITICAL):
            if is_silent and not self.held[latch]:
                self.since[latch] = None
        if self.since == [None, None]:
            self.peak = None
        for latch in (WARNING, CRITICAL):
            self._latch(latch, at, value)
        self.evaluated_to = at
        if self.since == [None, None]:
            self.peak = None
        elif self.peak is None or self.is_beyond(value, self.peak):
            self.peak = value
        after = self.phase()
        return None if before == after else (before, after, self.peak if after != FINE else peak_before)

    def _latch(self, latch: int, at: int, value: float) -> None:
        limit, since = self.limits[latch], self.since[latch]
        if since is not None and since > at:
            since = at
        if self.held[latch]:
            assert limit is not None
            if not self.is_beyond(value, self.clearing(limit)):
                self.held[latch], since = False, None
        elif self.is_beyond(value, limit):
            since = at if since is None else since
            self.held[latch] = at - since >= self.rule.for_s * SECOND
        else:
            since = None
        self.since[latch] = since


def rules_of(rules: list[Rule]) -> Rules:
    def signed(rule: Rule, value: float | None) -> float:
        return inf if value is None else value if rule.above else -value

    limits = np.array([[signed(r, r.warning) for r in rules], [signed(r, r.critical) for r in rules]]).reshape(2, -1)
    clear = np.array([-inf if r.clear is None else signed(r, r.clear) for r in rules])
    lower = limits.min(axis=0)
    margin = np.array([0 if isinf else low - c for isinf, low, c in zip(np.isinf(clear), lower, clear, strict=True)])
    return Rules(
        sign=np.array([1.0 if rule.above else -1.0 for rule in rules]),
        limits=limits,
        clears=limits - margin,
        for_ms=np.array([rule.for_s * SECOND for rule in rules], np.int64),
        gap_ms=np.array([rule.gap_s * SECOND for rule in rules], np.int64),
    )


def steps(found: Transitions) -> list[tuple[int, int, Phase, Phase, float]]:
    rows = zip(found.watch, found.at_ms, found.before, found.after, found.value, strict=True)
    return [(int(w), int(at) - T, Phase(int(b)), Phase(int(a)), float(v)) for w, at, b, a, v in rows]


def run(rule: Rule, *samples: tuple[float, float]) -> list[tuple[float, Phase]]:
    """(second, phase) of each change, of samples given as (second, value)."""
    at = np.array([[T + int(second * SECOND) for second, _ in samples]], np.int64)
    values = np.array([[value for _, value in samples]], float)
    _, found = evaluate(rules_of([rule]), State.fresh(1), at, values)
    return [(ms / SECOND, after) for _, ms, _, after, _ in steps(found)]


# --- In words ---------------------------------------------------------------------------------------------------------


def test_the_first_sample_over_its_limit_is_critical_at_once() -> None:
    assert run(Rule(critical=85), (0, 85.1)) == [(0, BROKEN)]


def test_a_value_at_its_limit_is_fine() -> None:
    assert run(Rule(critical=85), (0, 85)) == []


def test_below_is_the_mirror_of_above() -> None:
    assert run(Rule(above=False, warning=20, critical=10), (0, 20), (5, 19), (10, 9), (15, 12), (20, 30)) == [
        (5, WARNED),
        (10, BROKEN),
        (15, WARNED),
        (20, FINE),
    ]


def test_it_is_pending_until_the_limit_was_broken_for_as_long_as_asked() -> None:
    rule = Rule(critical=85, for_s=30)
    assert run(rule, (0, 90), (15, 90), (29, 90), (30, 90)) == [(0, PENDING), (30, BROKEN)]


def test_one_good_sample_ends_what_is_pending() -> None:
    rule = Rule(critical=85, for_s=30)
    assert run(rule, (0, 90), (15, 80), (29, 90), (45, 90)) == [(0, PENDING), (15, FINE), (29, PENDING)]


def test_what_is_held_is_let_go_at_its_clearing_value_only() -> None:
    rule = Rule(critical=85, clear=70)
    assert run(rule, (0, 90), (5, 71), (10, 90), (15, 70)) == [(0, BROKEN), (15, FINE)]


def test_the_other_level_keeps_the_same_distance_to_its_limit() -> None:
    rule = Rule(warning=80, critical=90, clear=75)
    assert run(rule, (0, 95), (5, 86), (10, 85), (15, 76), (20, 75)) == [(0, BROKEN), (10, WARNED), (20, FINE)]


def test_a_pause_makes_the_wait_start_anew() -> None:
    rule = Rule(critical=85, for_s=60, gap_s=20)
    assert run(rule, (0, 90), (50, 90), (70, 90), (90, 90), (110, 90)) == [(0, PENDING), (110, BROKEN)]


def test_a_pause_lets_nothing_go_that_is_held() -> None:
    assert run(Rule(critical=85, gap_s=20), (0, 90), (5000, 90), (5005, 10)) == [(0, BROKEN), (5005, FINE)]


def test_an_old_or_repeated_instant_changes_nothing() -> None:
    assert run(Rule(critical=85), (10, 90), (10, 10), (5, 10)) == [(10, BROKEN)]


def test_after_a_clock_was_set_back_the_wait_counts_from_now() -> None:
    rules, at = rules_of([Rule(critical=85, for_s=30)]), np.array([[T]])
    state, _ = evaluate(rules, State.fresh(1), at + 3_600_000, np.array([[90.0]]))
    state.evaluated_to[:] = NEVER  # what the runner forgets then
    state, found = evaluate(rules, state, np.array([[T, T + 29_000, T + 30_000]]), np.full((1, 3), 90.0))
    assert [(at, after) for _, at, _, after, _ in steps(found)] == [(30_000, BROKEN)]


def test_a_limit_that_was_taken_away_lets_go_with_the_next_sample() -> None:
    state, _ = evaluate(rules_of([Rule(critical=85)]), State.fresh(1), np.array([[T]]), np.array([[90.0]]))
    state, found = evaluate(rules_of([Rule(warning=95)]), state, np.array([[T + 5000]]), np.array([[90.0]]))
    assert steps(found) == [(0, 5000, BROKEN, FINE, 90.0)]


def test_the_peak_is_the_worst_value_since_it_began() -> None:
    rules = rules_of([Rule(warning=80), Rule(above=False, warning=20)])
    at = T + 5000 * np.arange(4)[None, :].repeat(2, axis=0)
    state, found = evaluate(rules, State.fresh(2), at, np.array([[81, 99.0, 85, 10], [19, 3.0, 15, 90]]))
    ended = found.after == FINE
    assert found.peak[ended].tolist() == [99, 3]
    assert np.isnan(state.peak).all()


def test_the_state_that_was_given_stays_as_it_was() -> None:
    state = State.fresh(1)
    evaluate(rules_of([Rule(critical=85)]), state, np.array([[T]]), np.array([[90.0]]))
    assert state.evaluated_to[0] == NEVER
    assert not state.held.any()


# --- In general -------------------------------------------------------------------------------------------------------

NUMBERS = st.integers(0, 12).map(float)


@st.composite
def any_rule(draw: st.DrawFn) -> Rule:
    above = draw(st.booleans())
    limits = sorted(draw(st.lists(st.integers(3, 9), min_size=2, max_size=2)), reverse=not above)
    warning, critical = (draw(st.one_of(st.none(), st.just(float(limit)))) for limit in limits)
    given_limits = [limit for limit in (warning, critical) if limit is not None]
    clear = None
    if given_limits and draw(st.booleans()):
        margin = draw(st.integers(0, 4))
        clear = min(given_limits) - margin if above else max(given_limits) + margin
    return Rule(
        above, warning, critical, clear, draw(st.sampled_from([0, 0, 5, 12, 40])), draw(st.sampled_from([7, 20]))
    )


@st.composite
def any_matrix(draw: st.DrawFn, watches: int) -> tuple[Ints, Floats]:
    columns = draw(st.integers(1, 12))
    distances = st.sampled_from([-8, -1, 0, 1, 5, 5, 5, 6, 15, 30])
    rows, numbers = [], []
    for _ in range(watches):
        rows.append(np.cumsum([draw(distances) for _ in range(columns)]) * SECOND + T)
        numbers.append([draw(st.one_of(NUMBERS, st.just(nan))) for _ in range(columns)])
    return np.array(rows, np.int64), np.array(numbers)


@st.composite
def any_case(draw: st.DrawFn) -> tuple[list[Rule], Ints, Floats]:
    rules = draw(st.lists(any_rule(), min_size=1, max_size=5))
    at_ms, values = draw(any_matrix(len(rules)))
    return rules, at_ms, values


@given(any_case())
def test_it_agrees_with_the_obvious_one(case: tuple[list[Rule], Ints, Floats]) -> None:
    rules, at_ms, values = case
    state, found = evaluate(rules_of(rules), State.fresh(len(rules)), at_ms, values)
    plain = [PlainWatch(rule) for rule in rules]
    expected, peaks = [], []
    for column in range(values.shape[1]):
        for number, watch in enumerate(plain):
            at, value = int(at_ms[number, column]), float(values[number, column])
            change = watch.take(at, value)
            if change:
                expected.append((number, at - T, change[0], change[1], value))
                peaks.append(change[2])
    assert steps(found) == expected
    assert [None if isnan(peak) else peak for peak in found.peak] == peaks
    for number, watch in enumerate(plain):
        since = [None if one == NEVER else one for one in state.since[:, number].tolist()]
        peak = float(state.peak[number])
        assert (since, state.held[:, number].tolist()) == (watch.since, watch.held)
        assert (None if isnan(peak) else peak) == watch.peak


@given(any_case(), st.data())
def test_cutting_it_anywhere_gives_the_same(case: tuple[list[Rule], Ints, Floats], data: st.DataObject) -> None:
    rules, at_ms, values = case
    columns = values.shape[1]
    cuts = sorted(data.draw(st.lists(st.integers(0, columns), max_size=4)))
    whole_state, whole = evaluate(rules_of(rules), State.fresh(len(rules)), at_ms, values)
    state, pieces = State.fresh(len(rules)), []
    for start, end in zip([0, *cuts], [*cuts, columns], strict=True):
        state, found = evaluate(rules_of(rules), state, at_ms[:, start:end], values[:, start:end])
        pieces += steps(found)
    assert pieces == steps(whole)
    for name in State.__slots__:
        np.testing.assert_array_equal(getattr(state, name), getattr(whole_state, name))


@given(any_case(), st.randoms(use_true_random=False))
def test_no_watch_knows_of_another(case: tuple[list[Rule], Ints, Floats], random: object) -> None:
    rules, at_ms, values = case
    order = list(range(len(rules)))
    random.shuffle(order)  # type: ignore[attr-defined]
    _, whole = evaluate(rules_of(rules), State.fresh(len(rules)), at_ms, values)
    _, mixed = evaluate(rules_of([rules[i] for i in order]), State.fresh(len(rules)), at_ms[order], values[order])
    assert sorted((order[w], *rest) for w, *rest in steps(mixed)) == sorted(steps(whole))


@pytest.mark.parametrize("columns", [0, 1])
def test_without_samples_nothing_happens(columns: int) -> None:
    empty = np.full((1, columns), nan)
    state, found = evaluate(rules_of([Rule(critical=1)]), State.fresh(1), np.zeros((1, columns), np.int64), empty)
    assert len(found) == 0
    assert state.evaluated_to[0] == NEVER
