"""What people see of a line: a stranger's text, never markup, never invisible."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.logs.ansi import without_ansi
from monitoring.logs.display import BEFORE_MATCH, SHORT, short, whole

PRINTABLE = st.one_of(
    st.sampled_from(
        ["<b>", "</mark>", "<script>", "<!--", "-->", "<![CDATA[", "<img src=x>", "&lt;", "&amp", '">', "a"]
    ),
    st.characters(min_codepoint=32, max_codepoint=126),
)
HIDDEN = st.sampled_from(
    [*"\x00\x07\x1b\r\n\t\x7f\x9b\u202e\u2066\u200b\ufeff\u3164\ud800\U000e0041", "\x1b[31m", "\x1b]0;"]
)
HARMLESS = st.lists(PRINTABLE, max_size=30).map("".join)
HOSTILE = st.lists(st.one_of(PRINTABLE, HIDDEN, st.characters()), max_size=40).map("".join)
MARKS = st.sampled_from(
    [None, re.compile("a"), re.compile(""), re.compile("[<&]"), re.compile("(?s).+"), re.compile(";")]
)


class Reader(HTMLParser):
    """What a browser makes of it: the text, and the elements with their attributes."""

    def __init__(self, fragment: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.elements, self.signs = "", set[str](), 0
        self.feed(fragment)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.add(f"{tag} {' '.join(f'{name}' for name, _value in attributes)}".strip())

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError("a comment")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError("a declaration")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError("a declaration")


@given(HOSTILE, MARKS)
def test_no_text_becomes_markup(text: str, marks: re.Pattern[str] | None) -> None:
    for shown in (whole(text, marks), short(text, marks).html):
        assert Reader(shown).elements <= {"mark", "span class title", "span class"}


@given(HOSTILE, MARKS)
def test_nothing_is_invisible_or_turns_the_text(text: str, marks: re.Pattern[str] | None) -> None:
    for shown in (whole(text, marks), short(text, marks).html):
        shown.encode()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]", shown)


@given(HARMLESS, MARKS)
def test_what_was_harmless_is_read_as_it_was_sent(text: str, marks: re.Pattern[str] | None) -> None:
    assert Reader(whole(text, marks)).text == text
    assert Reader(short(text, marks).html).text == text


@given(HOSTILE, MARKS)
def test_marks_change_nothing_but_marks(text: str, marks: re.Pattern[str] | None) -> None:
    assert re.sub("</?mark>", "", whole(text, marks)) == whole(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\x1b[31mERROR\x1b[0m disk", "ERROR disk"),
        ("\x1b[1;38;5;196mred\x1b[K", "red"),
        ("\x1b]0;title\x07prompt", "prompt"),
        ("\x1b]8;;http://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\picture", "picture"),
        ("\x1b(Bplain\x1b=", "plain"),
        ("\x1b]0;never finished", "0;never finished"),
        ("\x1b[31", "31"),
        ("no escapes", "no escapes"),
    ],
)
def test_escape_sequences_are_left_out_and_what_is_unfinished_hides_nothing(text: str, said: str) -> None:
    assert without_ansi(text) == said


def test_hostile_escapes_take_time_by_their_length_alone() -> None:
    for evil in ("\x1b[", "\x1b]", "\x1bP", "\x1b[0", "\x1b"):
        assert len(without_ansi(evil * 100_000)) < 400_000


def test_what_cannot_be_seen_is_an_element_with_its_name() -> None:
    assert whole("a\x00b") == 'a<span class="log-sign" title="U+0000 NULL">␀</span>b'
    assert whole("\u202ecod.exe") == (
        '<span class="log-sign" title="U+202E RIGHT-TO-LEFT OVERRIDE">U+202E</span>cod.exe'
    )
    assert "␍" in whole("10%\r20%")


@pytest.mark.parametrize("text", ["저장 공간이 부족합니다", "שלום", "👩‍👩‍👧 ok", "a\tb", "nb\xa0sp", "e\u0301"])
def test_writing_systems_are_left_alone(text: str) -> None:
    assert whole(text) == text


def test_a_match_is_marked_in_escaped_text() -> None:
    assert whole("<b>timed</b> out", re.compile("timed</b>")) == (
        "&lt;b&gt;<mark>timed&lt;/b&gt;</mark> out"
    )  # fmt: skip


def test_a_match_across_colours_is_marked() -> None:
    assert "<mark>timed out</mark>" in whole("\x1b[31mtimed\x1b[0m out", re.compile("timed out"))


def test_a_line_of_a_list_is_one_line() -> None:
    found = short("Traceback\r\n  File\n")

    assert found.html == 'Traceback<span class="log-sign">⏎</span>   File'
    assert found.is_whole


def test_a_whole_text_keeps_its_lines() -> None:
    assert whole("Traceback\r\n  File\n") == "Traceback\n  File"


def test_a_long_line_is_cut_and_says_so() -> None:
    found = short("x" * (SHORT + 1))

    assert found.html == "x" * SHORT + "…"
    assert not found.is_whole
    assert short("x" * SHORT).is_whole


def test_of_a_long_line_the_part_with_the_match_is_shown() -> None:
    found = short("x" * 60_000 + " needle " + "y" * 5_000, re.compile(r"\bneedle\b"))

    assert found.html.startswith("…x")
    assert html.unescape(found.html).index("<mark>needle</mark>") == BEFORE_MATCH + 1
    assert found.html.endswith("y…")


def test_half_a_word_at_the_cut_is_no_match() -> None:
    assert "<mark>" not in short("y" * (SHORT - 4) + "needles", re.compile(r"\bneed\b")).html
