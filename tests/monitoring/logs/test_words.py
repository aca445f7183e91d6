from __future__ import annotations

import random

import numpy as np
import pytest

from monitoring.logs import sieve
from monitoring.logs.codec import Block
from monitoring.logs.columns import Columns, coded
from monitoring.logs.words import field_key, folded, level_key, server_level_key, source_key, word_key, words_of


def block_of(*texts: str, docs: list[bytes] | None = None) -> Block:
    count = len(texts)
    columns = Columns(
        np.arange(count),
        np.full(count, 3, np.uint8),
        np.full(count, 7),
        *coded(["nginx"] * count),
        *coded(docs or [b""] * count),
        np.zeros(count, np.int64),
        [text.encode() for text in texts],
        np.ones(count, np.bool_),
    )
    return columns.block(slice(0, count))


def keys(*texts: str, docs: list[bytes] | None = None) -> set[int]:
    return set(sieve.keys_of(block_of(*texts, docs=docs)).tolist())


def test_words_are_runs_of_letters_and_digits_and_hangul_is_apart() -> None:
    text = folded("GET /api/v1?user_id=5 CPU가 90%입니다 ÉTÉ")

    assert words_of(text) == ["get", "api", "v1", "user_id", "5", "cpu", "가", "90", "입니다", "été"]


def test_what_is_written_in_two_ways_is_one_word() -> None:
    assert folded("가e\u0301") == folded("가é".upper())


@pytest.mark.parametrize(
    "text",
    [
        "Connection refused",
        "a",
        "x_1 y",
        "데이터베이스 연결",
        "CPU가",
        "über straße",
        "e" * 300,
        "\x01mark",
        "日本語 ログ",
    ],
)
def test_a_block_has_the_keys_of_its_words(text: str) -> None:
    has = keys("something else", text, "서버")

    assert {word_key(word) for word in words_of(folded(text))} <= has


@pytest.mark.parametrize("beginning", ["con", "conn", "connecti", "über", "데이", "데이터베이스", "12345"])
def test_a_block_has_the_keys_of_beginnings(beginning: str) -> None:
    assert word_key(beginning, is_prefix=True) in keys("connection", "übermut", "데이터베이스가", "123456")


def test_a_word_of_two_lines_is_no_word() -> None:
    assert word_key("connection") not in keys("conn", "ection")


def test_colours_are_no_words() -> None:
    has = keys("\x1b[31merror\x1b[0m")

    assert word_key("error") in has
    assert word_key("31merror") not in has


def test_fields_have_keys_of_their_own() -> None:
    has = keys("x", "y", "z", docs=[b'{"Status":"500","user":"bob"}', '{"경로":"/홈 \\n둘"}'.encode(), b""])

    assert {word_key("500"), field_key("status", "500"), field_key("user", "bob"), word_key("둘")} <= has
    assert field_key("user", "500") not in has
    assert field_key("status", "bob") not in has


def test_columns_have_keys() -> None:
    assert {level_key(3), server_level_key(7, 3), source_key("NGINX")} <= keys("x")
    assert server_level_key(7, 2) not in keys("x")


def test_a_sieve_knows_which_blocks_have_a_word() -> None:
    blocks = [block_of(*(f"line {number} of {place}" for number in range(50)), f"only{place}") for place in range(64)]

    found = sieve.build(blocks)

    for place in range(64):
        assert _blocks_with(found, word_key(f"only{place}")) >> place & 1
    assert _blocks_with(found, word_key("line")) == 2**64 - 1


def test_a_sieve_is_seldom_wrong() -> None:
    chosen = random.Random(7)
    found = sieve.build([block_of(*(f"{chosen.getrandbits(60):x}" for _ in range(1000))) for _ in range(4)])

    wrong = sum(_blocks_with(found, word_key(f"z{number}z")).bit_count() for number in range(2000))

    assert wrong < 0.005 * 4 * 2000


def _blocks_with(found: sieve.Sieve, key: int | None) -> int:
    assert key is not None
    start = sieve.bucket_number(key) % found.buckets * sieve.BUCKET_BYTES
    return int(sieve.blocks_with(key, [found.bits[start : start + sieve.BUCKET_BYTES]])[0])
