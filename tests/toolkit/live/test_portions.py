"""How the work of a flush is cut, and what goes out of it."""

from __future__ import annotations

import pytest

from portal.toolkit.live import portions as portions_module
from portal.toolkit.live.fragment import Fragment
from portal.toolkit.live.frame import Piece
from portal.toolkit.live.portions import Batch, Deliveries, Delivery, portions, stale_of
from portal.toolkit.live.topic import Address

BEAT = Piece("beat")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions_module, "PORTION", 4)


def fragments(count: int, *, fresh: int = 0) -> list[Fragment]:
    """So many, of which the first `fresh` need no rendering."""
    made = [Fragment(Address("gauge", str(number)), "en") for number in range(count)]
    for number, fragment in enumerate(made):
        fragment.update(f"<b>{number}</b>", number, now=0.0)
        fragment.rendered, fragment.touched = 1, int(number >= fresh) * 2
    return made


def test_who_needs_little_does_not_wait_for_what_others_show() -> None:
    screens = [tuple(fragments(4)), tuple(fragments(4))]
    cut = portions([Batch([], screen) for screen in screens])
    assert [portion.stale for portion in cut] == [set(screens[0]), set(screens[1])]
    assert [[batch.fragments for batch in portion.batches] for portion in cut] == [[screens[0]], [screens[1]]]


def test_what_several_show_is_rendered_once() -> None:
    shared = tuple(fragments(4))
    cut = portions([Batch([], shared), Batch([], shared[2:]), Batch([], (*shared[3:], *fragments(2)))])
    assert sum(len(portion.stale) for portion in cut) == 6
    assert [len(portion.batches) for portion in cut] == [2, 1]


def test_who_shows_something_urgent_goes_first_and_a_large_state_starts_with_it() -> None:
    calm, large = fragments(4), fragments(12, fresh=1)
    cut = portions([Batch([], tuple(calm)), Batch([], tuple(large))], urgent={large[9], large[11]})
    first = cut[0].batches[0]
    assert first.goes_on
    assert first.fragments[:3] == (large[0], large[9], large[11])  # what needs no rendering waits for nothing
    assert [batch.goes_on for portion in cut for batch in portion.batches] == [True, True, False, False]
    assert {fragment for portion in cut for fragment in portion.stale} == stale_of([Batch([], (*calm, *large))])


def test_only_what_is_new_is_delivered_and_nothing_that_is_not_watched() -> None:
    one, two, three = fragments(3)
    delivery = Delivery([one, two, three], [0, 1, None], BEAT)
    assert delivery.plain is not None
    assert (delivery.plain.text, delivery.with_beat.text) == ("<b>0</b>", "<b>0</b>\nbeat")
    assert Delivery([one, two], [1, 1], BEAT).plain is None


def test_a_long_state_is_delivered_in_frames_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions_module, "LONGEST_FRAME", 20)
    state = fragments(5)
    delivery = Delivery(state, [0] * 5, BEAT)
    assert (list(delivery.serials), delivery.rest) == (state[:2], state[2:])
    monkeypatch.setattr(portions_module, "LONGEST_FRAME", 1)
    assert len(Delivery(state, [0] * 5, BEAT).serials) == 1  # however long it is: else it would never go


def test_who_has_had_the_same_of_a_batch_gets_the_very_same_frame_and_shares_the_memory_of_it() -> None:
    one, two = fragments(2)
    deliveries = Deliveries([one], BEAT)
    first, second = deliveries.after({one: 0, two: 1}), deliveries.after({one: 0, two: 1})
    assert first.watched is second.watched == {one: 1, two: 1}
    other = deliveries.after({one: 0, two: 0})
    assert other.watched == {one: 1, two: 0}
    assert other.delivery.plain is first.delivery.plain


def test_who_has_had_all_of_a_batch_keeps_what_it_has() -> None:
    (one,) = fragments(1)
    had = {one: 1}
    step = Deliveries([one], BEAT).after(had)
    assert step.watched is had
    assert step.delivery.plain is None
