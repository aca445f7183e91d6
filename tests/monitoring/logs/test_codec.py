"""Columns are packed, and come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.logs.codec import END, Block, pack_block, unpack_block
from monitoring.logs.columns import Columns, coded
from monitoring.logs.line import KeptLine

said = st.tuples(
    st.integers(0, 2**62),
    st.integers(0, 3),
    st.integers(1, 2**40),
    st.sampled_from(["nginx", "shop", ""]),
    st.sampled_from([b"", b'{"a":"1"}', b'{"b":"2"}', b'{"c":"3"}']),
    st.integers(0, 2**33) | st.just(0),
    st.text(max_size=20).map(str.encode),
)


def columns_of(lines: list[tuple[int, int, int, str, bytes, int, bytes]]) -> Columns:
    at_ns, levels, servers, sources, docs, cuts, raws = zip(*lines, strict=True)
    field_docs, field_of = coded([b"", *docs])
    return Columns(
        np.array(at_ns, np.int64),
        np.array(levels, np.uint8),
        np.array(servers, np.int64),
        *coded(sources),
        field_docs,
        field_of[1:],
        np.array(cuts, np.int64),
        list(raws),
        np.ones(len(lines), np.bool_),
    )


def lines_of(block: Block) -> list[KeptLine]:
    return [block.line(index) for index in range(block.count)]


@given(st.lists(said, min_size=1, max_size=40).map(sorted))
def test_any_lines_come_back(lines: list[tuple[int, int, int, str, bytes, int, bytes]]) -> None:
    block = columns_of(lines).block(slice(None))
    again = unpack_block(7, *pack_block(block))
    assert lines_of(again) == lines_of(block)
    assert [again.raw(index) for index in range(again.count)] == [line[-1] for line in lines]
    assert (again.field_docs, again.texts) == (block.field_docs, block.texts)


@given(st.lists(said, min_size=2, max_size=40), st.integers(1, 39))
def test_lines_are_in_the_order_of_their_positions_however_they_were_cut(
    lines: list[tuple[int, int, int, str, bytes, int, bytes]], cut: int
) -> None:
    parts = [columns_of(part).block(slice(None)) for part in (lines[:cut], lines[cut:]) if part]
    merged = Columns.of(parts, [True] * len(parts)).sorted().block(slice(None))
    offered = {line.position: line for part in parts for line in lines_of(part)}
    assert lines_of(merged) == [offered[position] for position in sorted(offered)]


def test_fields_that_never_repeat_cost_next_to_nothing_to_tell() -> None:
    lines = [(at, 1, 1, "a", b'{"n":"%d"}' % at if at % 2 else b"", 0, b"x") for at in range(1000)]
    head, _ = pack_block(columns_of(lines).block(slice(None)))
    assert len(head) < 300


@pytest.mark.parametrize("text", [b"", b"\n", b"\0"])
def test_each_text_ends_before_the_mark(text: bytes) -> None:
    block = columns_of([(1, 0, 1, "a", b"", 0, text), (2, 0, 1, "a", b"", 0, b"b")]).block(slice(None))
    assert block.texts == text + END + b"b" + END
