"""A server's card as HTML, for those who need many of them every second."""

from __future__ import annotations

from operator import attrgetter

from django.template.loader import render_to_string

from monitoring.queries.fleet import ServerCard
from portal.toolkit.stencil import Stencil

_TEMPLATE = "monitoring/_server_card.html"
_TEXTS = (
    *("key", "url", "name", "head", "tail", "state", "state_word", "facts", "reason", "problem", "problem_says"),
    *("simulated_word", "stamp", "net_in", "net_out", "words.net_in", "words.net_out", "words.line"),
    *("cpu.text", "cpu.width", "cpu.level", "memory.text", "memory.width", "memory.level"),
    *("disk.text", "disk.width", "disk.level", "words.cpu", "words.memory", "words.disk", "words.simulated_says"),
)
_SAFE = ("state_icon", "kind_icon", "seen", "line")
_texts_of, _safe_of = attrgetter(*_TEXTS), attrgetter(*_SAFE)
_stencil = Stencil(_TEMPLATE, [f"card.{field}" for field in _TEXTS], [f"card.{field}" for field in _SAFE])


def card_html(card: ServerCard) -> str:
    """What the template gives. Cards of machines with data are filled into its outline: 0.02 ms instead of 0.2."""
    if card.readings or card.stamp == "0":
        return render_to_string(_TEMPLATE, {"card": card})
    return _stencil.filled(_texts_of(card), _safe_of(card))
