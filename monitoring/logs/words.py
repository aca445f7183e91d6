"""What a word of a line is, and the keys by which sieves know words.

A word is a run of letters, digits and "_", case-folded. Hangul is a script of its own: "CPU가" is "cpu" and "가", and a
Hangul word stands for every word that begins with it, since particles follow it without a space.

A key is 64 bits of a hash. The keys of a block and those of a search are made by the same function, `_hashed`.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Places = NDArray[np.int64]

HANGUL: Final = "가-힣ᄀ-ᇿ㄰-㆏"
"""As it stands inside the brackets of an expression: syllables and their parts."""
OTHER: Final = rf"[^\W{HANGUL}]"
"""A letter, digit or "_" that is not Hangul."""
_WORD: Final = re.compile(rf"[{HANGUL}]+|{OTHER}+")
_HANGUL_RUN: Final = re.compile(rf"[{HANGUL}]+")
_NO_WORD: Final = re.compile(r"\W+")

MOST_BYTES = 64
"""Bytes of a word that its key is made of; what follows is left to who reads the line."""
SHORT_PREFIX, LONG_PREFIX = 3, 5
"""Bytes of the beginnings that have keys; the longer one only of words that have no digit in it, because numbers and
identifiers would make as many keys as there are of them."""
HANGUL_PREFIXES = (3, 6, 9, 12)
"""Bytes of one to four syllables."""

_WORD_SALT, _PREFIX_SALT, _NAME_SALT = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_LEVEL_SALT, _SERVER_SALT, _BOTH_SALT, _SOURCE_SALT = 0xA0761D64, 0xE7037ED1, 0x8EBC6AF0, 0x589965CC
_PAD = bytes(MOST_BYTES + 8)
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
_SLOTS = 1 << 14
_BIT_7 = np.uint64(0x8080808080)
_MARK = 1
"""Stands before each Hangul word in what `bare` makes."""
IS_WORD: Final = np.zeros(256, np.bool_)
IS_WORD[[*b"0123456789abcdefghijklmnopqrstuvwxyz_", *range(0x80, 0xFB)]] = True


def folded(text: str) -> str:
    """The text as words are compared: without case, composed."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text.casefold())


def words_of(text: str) -> list[str]:
    """The words of a folded text, in their order."""
    return _WORD.findall(text)


def is_hangul(word: str) -> bool:
    return _HANGUL_RUN.match(word) is not None


# --- Keys of a search -------------------------------------------------------------------------------------------------
def word_key(word: str, *, is_prefix: bool = False) -> int | None:
    """The key that every block has which has `word`, or a word that begins with it; None: there is none."""
    written = word.encode("utf-8", "replace")
    if is_hangul(word):
        length = max((length for length in HANGUL_PREFIXES if length <= len(written)), default=0)
        return _key(written[:length], _PREFIX_SALT)
    if not is_prefix:
        return _key(written, _WORD_SALT)
    if len(written) >= LONG_PREFIX and not any(byte in b"0123456789" for byte in written[:LONG_PREFIX]):
        return _key(written[:LONG_PREFIX], _PREFIX_SALT)
    return _key(written[:SHORT_PREFIX], _PREFIX_SALT) if len(written) >= SHORT_PREFIX else None


def field_key(name: str, word: str) -> int | None:
    """The key of a whole word in the value of the field `name`, folded; None: there is none."""
    if is_hangul(word):
        return None
    both = _named(
        np.array([_key(word.encode("utf-8", "replace"), _WORD_SALT)], np.uint64),
        np.array([_key(name.encode("utf-8", "replace"), _NAME_SALT)], np.uint64),
    )
    return int(both[0])


def level_key(level: int) -> int:
    return int(level_keys(np.array([level]))[0])


def server_key(server_id: int) -> int:
    return int(server_keys(np.array([server_id]))[0])


def server_level_key(server_id: int, level: int) -> int:
    return int(server_level_keys(np.array([server_id]), np.array([level]))[0])


def source_key(source: str) -> int:
    return _key(folded(source).encode("utf-8", "replace"), _SOURCE_SALT)


# --- Keys of many -----------------------------------------------------------------------------------------------------
def level_keys(levels: NDArray[np.integer]) -> Keys:
    return _mixed(levels.astype(np.uint64) ^ np.uint64(_LEVEL_SALT << 32))


def server_keys(server_ids: NDArray[np.integer]) -> Keys:
    return _mixed(server_ids.astype(np.uint64) ^ np.uint64(_SERVER_SALT << 32))


def server_level_keys(server_ids: NDArray[np.integer], levels: NDArray[np.integer]) -> Keys:
    both = server_ids.astype(np.uint64) << np.uint64(3) | levels.astype(np.uint64)
    return _mixed(both ^ np.uint64(_BOTH_SALT << 32))


def bare(text: str) -> bytes:
    """The words of a folded text that is not ASCII, as `text_keys` wants them."""
    spaced = _NO_WORD.sub(" ", text)
    return _HANGUL_RUN.sub(lambda run: f" {chr(_MARK)}{run[0]} ", spaced).encode("utf-8", "replace")


def text_keys(text: bytes) -> Keys:
    """Keys of all words of a folded ASCII text, or of what `bare` made of another; few of them twice.

    The byte 0xFF parts words, as everything does in ASCII that is not a letter, a digit or "_".
    """
    return _Found(text).keys()


def document_keys(documents: bytes) -> Keys:
    """Keys of fields: `{"name":"value",…}` one after the other, folded, ASCII or `bare` inside the quotes, which hold
    neither quotes nor backslashes. Each word has its own keys, and one with the name of its field; few of them twice.
    """
    found = _Found(documents)
    quotes = np.flatnonzero(found.octets == ord('"'))
    before = np.searchsorted(quotes, found.starts)
    in_value = (before % 4 == 3) & ~found.is_hangul
    opened = quotes[before[in_value] - 3] + 1
    names = found.hashed(opened, quotes[before[in_value] - 2] - opened, _NAME_SALT)
    named = _named(found.whole[in_value], names)
    return np.concatenate([found.keys(), named[_distinct(named)]])


class _Found:
    """The words of a text: where they start, how long they are, their keys as whole words."""

    def __init__(self, text: bytes) -> None:
        padded = text + _PAD
        self.octets = np.frombuffer(padded, np.uint8)
        # Eight bytes from each place on.
        self._eights: Keys = np.ndarray((len(padded) - 7,), np.dtype("<u8"), padded, 0, (1,))
        is_word = IS_WORD[self.octets]
        edges = np.flatnonzero(is_word[1:] != is_word[:-1]) + 1
        if is_word[0]:
            edges = np.concatenate([[0], edges])
        self.starts: Places = edges[0::2]
        self.lengths: Places = edges[1::2] - self.starts
        # An ASCII text may have that byte anywhere.
        self.is_hangul = (self.octets[self.starts - 1] == _MARK) & (self.octets[self.starts] >= 0x80)
        self.whole = self.hashed(self.starts, self.lengths, _WORD_SALT)

    def keys(self) -> Keys:
        """Of whole words, but of Hangul, whose beginnings say all; and of beginnings."""
        distinct = _distinct(self.whole)
        starts, lengths, is_hangul = self.starts[distinct], self.lengths[distinct], self.is_hangul[distinct]
        keys = [self.whole[distinct][~is_hangul]]
        for length in sorted({SHORT_PREFIX, LONG_PREFIX, *HANGUL_PREFIXES}):
            has = lengths >= length
            if length == LONG_PREFIX:
                has &= ~is_hangul & ~self._have_digits(starts)
            elif length != SHORT_PREFIX:
                has &= is_hangul
            chosen = starts[has]
            keys.append(self.hashed(chosen, np.full(len(chosen), length), _PREFIX_SALT))
        return np.concatenate(keys)

    def _have_digits(self, starts: Places) -> NDArray[np.bool_]:
        """Which words have a digit in their first LONG_PREFIX bytes: of the bytes of words, those of digits alone have
        neither bit 6 nor bit 7."""
        firsts = self._eights[starts]
        return np.asarray((firsts | firsts << np.uint64(1)) & _BIT_7 != _BIT_7)

    def hashed(self, starts: Places, lengths: Places, salt: int) -> Keys:
        return _hashed(self._eights, starts, lengths, salt)


def _distinct(keys: Keys) -> Places:
    """Where keys are, few of them twice, in a tenth of the time that sorting takes."""
    places = np.arange(len(keys))
    slot = (keys & np.uint64(_SLOTS - 1)).astype(np.int64)
    holder = np.empty(_SLOTS, np.int64)
    holder[slot] = places
    held = holder[slot]
    return np.flatnonzero((held == places) | (keys[held] != keys))


# --- The hash ---------------------------------------------------------------------------------------------------------
def _key(written: bytes, salt: int) -> int:
    padded = written + _PAD
    eights: Keys = np.ndarray((len(padded) - 7,), np.dtype("<u8"), padded, 0, (1,))
    return int(_hashed(eights, np.array([0]), np.array([len(written)]), salt)[0])


def _hashed(eights: Keys, starts: Places, lengths: Places, salt: int) -> Keys:
    """A hash of `lengths` bytes (MOST_BYTES count) from each of `starts` on."""
    lengths = np.minimum(lengths, MOST_BYTES)
    keys = _mixed(eights[starts] & _MASKS[np.minimum(lengths, 8)] ^ np.uint64(salt) ^ lengths.astype(np.uint64))
    longer, done = np.flatnonzero(lengths > 8), 8
    while len(longer):
        left = lengths[longer] - done
        keys[longer] = _mixed(keys[longer] ^ eights[starts[longer] + done] & _MASKS[np.minimum(left, 8)])
        longer, done = longer[left > 8], done + 8
    return keys


def _named(words: Keys, names: Keys) -> Keys:
    return _mixed(words ^ _mixed(names))


def _mixed(keys: Keys) -> Keys:
    """Every bit of the result depends on every bit (the finaliser of splitmix64)."""
    keys = (keys ^ keys >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ keys >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return keys ^ keys >> np.uint64(31)
