"""How the work of one flush is cut, so that nobody waits for the rendering of much that only others show."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from portal.toolkit.live.fragment import Fragment
from portal.toolkit.live.frame import Frame, Piece
from portal.toolkit.live.watcher import Watcher

PORTION = 200
"""About as many fragments are rendered before those who need no more are sent theirs."""
COMPARED = 4
"""With so many others who have had the same of a batch it is seen whether all that they have had is the same."""
LONGEST_FRAME = 128 * 1024
"""In characters. More than a screen of cards; a longer state goes in several frames."""


class Batch(NamedTuple):
    """Sockets that are to be sent the same, as those of the same screen are; whether more comes in a later portion."""

    watchers: list[Watcher]
    fragments: tuple[Fragment, ...]
    goes_on: bool = False


@dataclass(slots=True)
class Portion:
    """Fragments to be rendered in one go, and what needs no later ones."""

    stale: set[Fragment] = field(default_factory=set)
    batches: list[Batch] = field(default_factory=list)


def batches_of(ready: Iterable[Watcher], now: float) -> list[Batch]:
    """What the sockets that are ready wait for, taken from them."""
    alike: dict[tuple[Fragment, ...], list[Watcher]] = {}
    seen: dict[int, tuple[Mapping[Fragment, None], list[Watcher]]] = {}  # of most it is the very same object
    for watcher in ready:
        if watcher.sending_since is None:
            taken = watcher.take_unsent(now)
            found = seen.get(id(taken))
            if found is None:
                found = seen[id(taken)] = (taken, alike.setdefault(tuple(taken), []))
            found[1].append(watcher)
    return [Batch(watchers, fragments) for fragments, watchers in alike.items()]


def stale_of(batches: Iterable[Batch]) -> set[Fragment]:
    return {fragment for batch in batches for fragment in batch.fragments if fragment.is_stale}


def portions(batches: Iterable[Batch], urgent: Collection[Fragment] = ()) -> list[Portion]:
    """The work in order: whoever shows something urgent first, and of a large batch that part first.

    A watcher gets one frame, after the last portion that it needs, unless what is stale of it fills a portion alone.
    """
    made = [Portion()]
    place: dict[Fragment, int] = {}
    for batch in sorted(batches, key=lambda batch: _rank(batch.fragments, urgent)) if urgent else batches:
        for part in _parts(batch, urgent):
            stale = [fragment for fragment in part.fragments if fragment.is_stale]
            new = [fragment for fragment in stale if fragment not in place]
            if new and len(made[-1].stale) >= PORTION:
                made.append(Portion())
            made[-1].stale.update(new)
            place.update(dict.fromkeys(new, len(made) - 1))
            made[max((place[fragment] for fragment in stale), default=0)].batches.append(part)
    return made


def _rank(fragments: Iterable[Fragment], urgent: Collection[Fragment]) -> bool:
    return not any(fragment in urgent for fragment in fragments)


def _parts(batch: Batch, urgent: Collection[Fragment]) -> Iterable[Batch]:
    """`batch` as it is, or cut where that much of it is stale."""
    if len(batch.fragments) <= PORTION or sum(fragment.is_stale for fragment in batch.fragments) <= PORTION:
        return [batch]
    ordered = tuple(sorted(batch.fragments, key=lambda fragment: (fragment.is_stale, fragment not in urgent)))
    cuts = range(0, len(ordered), PORTION)
    return [Batch(batch.watchers, ordered[cut : cut + PORTION], cut != cuts[-1]) for cut in cuts]


class Deliveries:
    """Of one batch: who has had the same gets the very same, and from then on shares what it has had."""

    def __init__(self, fragments: Sequence[Fragment], beat: Piece) -> None:
        self._fragments = fragments
        self._beat = beat
        self._known: dict[int, Step] = {}  # by the id of `before`, which it keeps alive
        self._alike: dict[tuple[int | None, ...], list[Step]] = {}

    def after(self, watched: Mapping[Fragment, int]) -> Step:
        """The step of a watcher that has had this."""
        step = self._known.get(id(watched))
        return step or self._meet(watched)

    def _meet(self, watched: Mapping[Fragment, int]) -> Step:
        had = tuple(map(watched.get, self._fragments))
        alike = self._alike.setdefault(had, [])
        for step in alike[:COMPARED]:
            if step.before == watched:
                self._known[id(watched)] = step._replace(before=watched)
                return step
        delivery = alike[0].delivery if alike else Delivery(self._fragments, had, self._beat)
        step = Step(watched, delivery, {**watched, **delivery.serials} if delivery.serials else watched)
        alike.append(step)
        self._known[id(watched)] = step
        return step


class Step(NamedTuple):
    """From what a watcher had had to what it has had with `delivery`."""

    before: Mapping[Fragment, int]
    delivery: Delivery
    watched: Mapping[Fragment, int]


class Delivery:
    """What those get of a batch who have had the same of it so far: as much as one frame holds.

    `serials` are to be noted as sent; `rest` did not fit in.
    """

    def __init__(self, fragments: Sequence[Fragment], had: Sequence[int | None], beat: Piece) -> None:
        """`had`: the serial of each that was sent last; None for what is not watched any more."""
        self.serials: dict[Fragment, int] = {}
        self.rest: list[Fragment] = []
        self._beat = beat
        room = LONGEST_FRAME
        for fragment, serial in zip(fragments, had, strict=True):
            if serial is None or serial == fragment.serial:
                continue
            room -= len(fragment.piece.text)
            if room < 0 and self.serials:
                self.rest.append(fragment)
            else:
                self.serials[fragment] = fragment.serial
        self.is_beat = all(fragment.is_low for fragment in self.serials)
        """Whether the pace does not count it."""

    @cached_property
    def plain(self) -> Frame | None:
        """None when there is nothing new."""
        return Frame([fragment.piece for fragment in self.serials]) if self.serials else None

    @cached_property
    def with_beat(self) -> Frame:
        return Frame([*(fragment.piece for fragment in self.serials), self._beat])
