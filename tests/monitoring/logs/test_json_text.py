"""JSON lines, set for people: only white space may differ."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.logs.json_text import indented

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
DOCUMENTS = st.lists(VALUES, max_size=3) | st.dictionaries(st.text(max_size=5), VALUES, max_size=3)


@given(DOCUMENTS)
def test_it_is_set_as_json_usually_is(document: object) -> None:
    assert indented(json.dumps(document, ensure_ascii=False)) == json.dumps(document, ensure_ascii=False, indent=2)


def test_numbers_repeated_names_and_escapes_stay_as_they_were_sent() -> None:
    assert indented('{"a":1.10,"a":123456789012345678901234567890,"\\u0041":"{[,:]}\\""}') == (
        '{\n  "a": 1.10,\n  "a": 123456789012345678901234567890,\n  "\\u0041": "{[,:]}\\""\n}'
    )


@pytest.mark.parametrize(
    "text", ["", "plain", "[ERROR] disk", "{", '{"a": NaN}', '{"a": 1} and more', "12", '"text"', "[" * 60_000]
)
def test_what_is_no_document_is_left_as_it_is(text: str) -> None:
    assert indented(text) is None


def test_a_document_that_would_grow_without_bound_is_left_as_it_is() -> None:
    assert indented("[" * 21 + "]" * 21) is None
    assert indented("[" * 20 + "]" * 20) is not None
