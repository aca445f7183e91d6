"""A card filled into its outline is the card that Django's template gives, whatever is in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from django.template.loader import get_template, render_to_string
from django.utils import translation
from django.utils.safestring import SafeString
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.cards import card_html
from monitoring.hot_lines import SLOTS_KEPT
from monitoring.models import ServerState
from monitoring.queries.cards import CardFacts, Gauge, ServerCard, card_words
from monitoring.queries.readings import Reading
from portal.toolkit.sparkline import sparklines, view
from portal.toolkit.templatetags.icons import icon

texts = st.text(st.sampled_from("ab<>&\"'%s{}"), max_size=8)
some = texts.filter(bool)
gauges = st.builds(Gauge, texts, texts, st.sampled_from(["", "high", "full"]))
rows = st.lists(st.just(math.nan) | st.floats(0, 100), min_size=1, max_size=60)
lines = rows.map(lambda values: sparklines(np.array([values]))[0])
seen = st.sampled_from([SafeString(""), SafeString("<time>now</time>")])


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_card_is_what_the_template_gives(language: str) -> None:
    with translation.override(language):
        facts = st.builds(
            CardFacts,
            words=st.just(card_words(language)),
            key=st.integers(1, 10**9).map(str),
            url=some,
            name=some,
            state=st.sampled_from(ServerState.values),
            state_icon=st.just(icon("circle-check")),
            kind_icon=st.just(icon("server", 14)),
            about=some,
            **dict.fromkeys(("head", "tail", "reason", "problem", "simulated_word"), texts),
        )

        @settings(max_examples=150, deadline=None)
        @given(
            st.builds(
                ServerCard,
                facts=facts,
                stamp=st.sampled_from(["0", "1700000000000"]),
                seen=seen,
                readings=st.lists(st.builds(Reading, some, texts, texts, texts), max_size=2),
                **dict.fromkeys(("cpu", "memory", "disk"), gauges),
                line=lines,
            )
        )
        def is_the_same(card: ServerCard) -> None:
            assert card_html(card) == render_to_string("monitoring/_server_card.html", {"card": card})

        is_the_same()


def test_a_card_has_room_for_its_line() -> None:
    template = get_template("monitoring/_server_card.html").template.source
    assert f'class="spark" viewBox="{view(SLOTS_KEPT)}"' in template
