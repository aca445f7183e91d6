"""When a socket's frames go: one a second in the long run, and nothing that matters stands back for a trifle."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest

from portal.toolkit.live.fragment import Fragment
from portal.toolkit.live.frame import Frame
from portal.toolkit.live.topic import Address
from portal.toolkit.live.watcher import PACES_S, Watcher

Sent = list[tuple[float, int]]
STEP_S = 0.01


def screen(count: int) -> list[Fragment]:
    return [Fragment(Address("gauge", str(number)), "en") for number in range(count)]


def played(touches: Iterable[tuple[float, Sequence[Fragment]]], watched: Sequence[Fragment], until_s: float) -> Sent:
    """At which second a frame went, with how many fragments, to a socket whose whole state went long before."""
    watcher = Watcher(lambda _frame: None, language="en", on_control=lambda _said: None, on_stalled=lambda: None)
    watcher.beat_at = 1e9
    sent: Sent = []
    _go(watcher, watched, -10.0, sent)
    _go(watcher, watched[:1], -5.0, sent)
    sent.clear()
    waiting = sorted(touches, key=lambda touch: touch[0])
    for step in range(int(until_s / STEP_S)):
        now = step * STEP_S
        while waiting and waiting[0][0] <= now + STEP_S / 2:
            watcher.mark(dict.fromkeys(waiting.pop(0)[1]), now)
        if watcher.unsent and watcher.ready_at <= now:
            _post(watcher, now, sent)
    return sent


def _go(watcher: Watcher, fragments: Sequence[Fragment], now: float, sent: Sent) -> None:
    if watcher.watched:
        watcher.mark(dict.fromkeys(fragments), now)
    else:
        watcher.watch(fragments, now)
    _post(watcher, now, sent)


def _post(watcher: Watcher, now: float, sent: Sent) -> None:
    taken = watcher.take_unsent(now)
    assert taken
    watcher.post(Frame([]), is_beat=False)
    sent.append((round(now, 2), len(taken)))


def test_a_screen_does_not_wait_because_one_card_of_it_was_a_moment_earlier() -> None:
    cards = screen(40)
    sent = played([(0.0, cards[:3]), (0.06, cards[3:])], cards, until_s=2)
    assert sent == [(0.0, 3), (0.06, 37)]


def test_what_follows_most_of_a_screen_waits_a_second() -> None:
    cards = screen(40)
    sent = played([(0.0, cards[:30]), (0.06, cards[30:])], cards, until_s=2)
    assert sent[0] == (0.0, 30)
    assert sent[1][0] >= 0.9
    assert sent[1][1] == 10


@pytest.mark.parametrize("share", [1, 3, 40], ids=["one card", "a few cards", "all cards"])
def test_in_the_long_run_it_is_one_frame_a_second(share: int) -> None:
    cards = screen(40)
    sent = played([(number * 0.05, cards[:share]) for number in range(400)], cards, until_s=20)
    assert 19 <= len(sent) <= 22
    firsts = [at for at, _ in sent]
    assert all(sum(start <= at < start + 0.9 for at in firsts) <= 2 for start in firsts)


def test_a_screen_of_one_thing_never_gets_two_frames_within_a_second() -> None:
    card = screen(1)
    sent = played([(number * 0.3, card) for number in range(20)], card, until_s=7)
    instants = [at for at, _ in sent]
    assert min(after - before for before, after in pairwise(instants)) >= PACES_S["high"] - 0.15
