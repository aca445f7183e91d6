from __future__ import annotations

from django.utils import translation

from portal.toolkit.sentence import Quantity, Term, say, sentence


def test_a_message_without_parts_is_stored_as_it_is() -> None:
    assert sentence("No data has arrived yet.") == "No data has arrived yet."


def test_a_stored_message_is_said_in_the_language_of_whoever_looks() -> None:
    with translation.override("ko"):
        assert say("Healthy") == "정상"


def test_parts_are_put_in_when_it_is_said() -> None:
    stored = sentence("%(name)s: %(value)s", name="web-1", value=Quantity(97.24, "%"))
    assert say(stored) == "web-1: 97.2%"


def test_a_term_is_translated_with_its_sentence_and_a_plain_part_is_not() -> None:
    stored = sentence("%(first)s, %(second)s", first=Term("Memory"), second="Memory")
    with translation.override("ko"):
        assert say(stored) == "메모리, Memory"


def test_a_part_that_looks_like_a_place_or_like_json_stays_text() -> None:
    stored = sentence("%(name)s", name='{"say": "%(name)s"}')
    assert say(stored) == '{"say": "%(name)s"}'


def test_nothing_says_nothing() -> None:
    assert say("") == ""
