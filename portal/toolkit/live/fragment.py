"""What the hub knows of one (topic, key, language) that somebody watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.html import format_html

from portal.toolkit.live.frame import Piece
from portal.toolkit.live.topic import Address, topics

if TYPE_CHECKING:
    from portal.toolkit.live.watcher import Watcher

RESTAMP_S = 15.0
"""However little changes, the stamp that a page shows is never older than this, if there is a newer one."""

GONE = -1
"""The content of a fragment whose key is no more; `hash` never gives it."""

_STAMP = 'data-at="'


def content_of(html: str) -> int:
    """A number that is equal for what differs in nothing but the values of `data-at`."""
    return hash(without_stamps(html))


def without_stamps(html: str) -> tuple[str, ...]:
    """`html` with the values of `data-at` cut out. A regular expression takes twenty times as long."""
    first, *others = html.split(_STAMP)
    return (first, *[other[other.find('"') :] for other in others])


def gone(address: Address) -> str:
    """What stands for a fragment whose key is no more."""
    return format_html('<template data-gone="{}"></template>', str(address))


class Fragment:
    """The newest HTML, and a serial that grows whenever there is something to be sent.

    `touched` and `rendered` are positions in the hub's count of touches: it is stale while it was touched after it
    was rendered.
    """

    __slots__ = (
        "_audience",
        "_watchers",
        "address",
        "content",
        "is_low",
        "language",
        "looked_at",
        "piece",
        "printed_at",
        "rendered",
        "serial",
        "stamp_is_behind",
        "touched",
    )

    def __init__(self, address: Address, language: str) -> None:
        self.address = address
        topic = topics().get(address.topic)
        self.is_low = topic is not None and topic.is_low
        self.language = language
        self._watchers: set[Watcher] = set()
        self._audience: frozenset[Watcher] | None = None
        self.touched = 0
        self.rendered = -1
        self.serial = 0
        self.piece = Piece("")
        self.content: int | None = None
        self.printed_at = self.looked_at = 0.0
        self.stamp_is_behind = False

    @property
    def audience(self) -> frozenset[Watcher]:
        """Who watches it; made once for as long as nobody comes or goes, because it is compared with others' often."""
        if self._audience is None:
            self._audience = frozenset(self._watchers)
        return self._audience

    def add(self, watcher: Watcher) -> None:
        self._watchers.add(watcher)
        self._audience = None

    def discard(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)
        self._audience = None

    @property
    def is_stale(self) -> bool:
        return self.rendered < self.touched

    def update(self, html: str, content: int, *, now: float) -> None:
        """Take over a fresh rendering; the serial grows when it differs, or only in its stamp but after a while."""
        self.looked_at = now
        if content == self.content and (html == self.piece.text or now - self.printed_at < RESTAMP_S):
            self.stamp_is_behind = html != self.piece.text
            return
        self.piece, self.content, self.printed_at = Piece(html), content, now
        self.serial += 1
        self.stamp_is_behind = False

    def needs_restamp(self, now: float) -> bool:
        return self.stamp_is_behind and now - self.printed_at >= RESTAMP_S
