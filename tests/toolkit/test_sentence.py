from __future__ import annotations

import json

import pytest
from django.utils import translation

from portal.toolkit.sentence import (
    Inner,
    Quantity,
    SaidError,
    Term,
    counted,
    fitted,
    paragraph,
    say,
    sentence,
)

UNKNOWN = "the name %(name)s is not known (DNS)"
CUT_OFF = "The answer was cut off."
TROUBLE = (
    "%(count)d container could not be measured: “%(name)s” (%(trouble)s).",
    "%(count)d containers could not be measured; the first is “%(name)s” (%(trouble)s).",
)


def korean(stored: str) -> str:
    with translation.override("ko"):
        return say(stored)


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


def test_a_sentence_within_a_sentence_is_said_with_it() -> None:
    inner = sentence("%(what)s: the answer was cut off", what=Term("the list of containers"))
    stored = sentence("%(error)s.", error=Inner(inner))
    assert say(stored) == "the list of containers: the answer was cut off."
    assert korean(stored) == "컨테이너 목록: 응답이 중간에 끊겼습니다."


def test_a_message_without_parts_within_a_sentence_keeps_its_percent_signs() -> None:
    assert say(sentence("%(inner)s!", inner=Inner("100% of 5%d"))) == "100% of 5%d!"


def test_a_count_chooses_the_form_of_its_language() -> None:
    stored = [counted(*TROUBLE, n, name="web", trouble=Inner(sentence(UNKNOWN, name="a.example"))) for n in (1, 2)]
    assert say(stored[0]) == "1 container could not be measured: “web” (the name a.example is not known (DNS))."
    assert say(stored[1]).startswith("2 containers could not be measured; the first is “web” (the name a.example")
    assert korean(stored[1]).startswith("컨테이너 2개를 측정하지 못했습니다. 처음: “web”(이름 a.example을(를)")


def test_a_paragraph_is_its_sentences_one_after_the_other() -> None:
    stored = paragraph(["", CUT_OFF, sentence("%(name)s: %(name)s.", name="x"), ""])
    assert say(stored) == "The answer was cut off. x: x."
    assert korean(stored) == "응답이 중간에 끊겼습니다. x: x."


def test_a_paragraph_of_one_sentence_is_that_sentence_and_of_none_nothing() -> None:
    assert [paragraph(["", CUT_OFF]), paragraph([""]), paragraph([])] == [CUT_OFF, "", ""]


# --- Cut to length ----------------------------------------------------------------------------------------------------
LONG = 'said "no" \\ ' * 400


@pytest.mark.parametrize("most", [100, 200, 500, 2000])
def test_a_sentence_that_is_too_long_is_cut_in_its_texts(most: int) -> None:
    inner = counted(*TROUBLE, 2, name=LONG, trouble=Inner(sentence(UNKNOWN, name=LONG)))
    stored = fitted(paragraph([inner, CUT_OFF]), most)
    assert len(stored) <= most
    json.loads(stored)
    assert say(stored).startswith("2 containers")


def test_what_is_cut_is_still_said_in_every_language() -> None:
    stored = fitted(sentence(UNKNOWN, name=LONG), 120)
    assert say(stored).startswith('the name said "no"')
    assert say(stored).endswith("… is not known (DNS)")
    assert korean(stored).endswith("…을(를) 알 수 없습니다(DNS)")


def test_a_sentence_that_fits_stays_as_it_is_but_for_control_characters() -> None:
    assert fitted(CUT_OFF, 500) == CUT_OFF
    said = say(fitted(sentence(UNKNOWN, name="a\x1b\n\udcff\0b"), 500))
    assert said == f"the name a{4 * chr(0xFFFD)}b is not known (DNS)"
    assert fitted("old text\n" * 100, 20) == "old text\ufffdold text\ufffdo…"


# --- Errors -----------------------------------------------------------------------------------------------------------
class AwayError(SaidError):
    pass


class OtherError(SaidError):
    pass


def test_an_error_is_said_in_the_language_of_whoever_asks() -> None:
    error = AwayError(UNKNOWN, name="a.example")
    assert str(error) == "the name a.example is not known (DNS)"
    with translation.override("ko"):
        assert str(error) == "이름 a.example을(를) 알 수 없습니다(DNS)"


def test_an_error_of_another_one_says_the_same() -> None:
    error = OtherError.of(AwayError(UNKNOWN, name='{"say": 1}'))
    assert isinstance(error, OtherError)
    assert say(error.stored) == 'the name {"say": 1} is not known (DNS)'


def test_an_error_holds_nothing_unprintable_and_no_more_than_it_may() -> None:
    error = AwayError(UNKNOWN, name="\x1b]0;" + "x" * 100_000)
    assert len(error.stored) <= SaidError.MOST
    assert str(error).startswith("the name \ufffd]0;xxx")
    assert len(str(error)) < 350
