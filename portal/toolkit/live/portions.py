"""How the work of one flush is cut, so that nobody waits for the rendering of much that only others show."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from portal.toolkit.live.fragment import Fragment
from portal.toolkit.live.watcher import Watcher

PORTION = 100
"""About as many fragments are rendered before those who need no more are sent theirs."""
LONGEST_FRAME = 128 * 1024
"""In characters. More than a screen of cards; a longer state goes in several frames."""


class Batch(NamedTuple):
    """What a watcher is to be sent; whether more of it comes in a later portion."""

    watcher: Watcher
    fragments: Collection[Fragment]
    goes_on: bool = False


@dataclass(slots=True)
class Portion:
    """Fragments to be rendered in one go, and what needs no later ones."""

    stale: set[Fragment] = field(default_factory=set)
    batches: list[Batch] = field(default_factory=list)


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


def _rank(fragments: Collection[Fragment], urgent: Collection[Fragment]) -> bool:
    return not any(fragment in urgent for fragment in fragments)


def _parts(batch: Batch, urgent: Collection[Fragment]) -> Iterable[Batch]:
    """`batch` as it is, or cut where that much of it is stale."""
    if len(batch.fragments) <= PORTION or sum(fragment.is_stale for fragment in batch.fragments) <= PORTION:
        return [batch]
    ordered = sorted(batch.fragments, key=lambda fragment: (fragment.is_stale, fragment not in urgent))
    cuts = range(0, len(ordered), PORTION)
    return [Batch(batch.watcher, ordered[cut : cut + PORTION], cut != cuts[-1]) for cut in cuts]


def take_news(watcher: Watcher, fragments: Iterable[Fragment]) -> tuple[list[Fragment], list[Fragment]]:
    """What of `fragments` the watcher has not had, as much as one frame holds, and the rest.

    The first part counts as sent.
    """
    news: list[Fragment] = []
    rest: list[Fragment] = []
    watched, room = watcher.watched, LONGEST_FRAME
    for fragment in fragments:
        serial = fragment.serial
        if watched.get(fragment, serial) == serial:
            continue
        room -= len(fragment.piece.text)
        if room < 0 and news:
            rest.append(fragment)
        else:
            watched[fragment] = serial
            news.append(fragment)
    return news, rest
