"""A block's texts and fields as words are looked for in them: folded, without what a terminal would not show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import orjson

from monitoring.logs.ansi import without_ansi
from monitoring.logs.codec import Block
from monitoring.logs.words import Keys, bare, document_keys, folded, text_keys

END: Final = b"\xff"
"""Follows each line of what these functions make, as in a block's texts."""
_ESCAPE: Final = b"\x1b"
_PIECE: Final = 1 << 20
"""Bytes whose words are looked for at once, about."""


def folded_text(text: str) -> str:
    return folded(without_ansi(text))


def folded_texts(block: Block) -> bytes:
    """Kept with the block."""
    known: bytes | None = block.scratch.get("texts")
    if known is None:
        known = block.scratch["texts"] = _folded_lines(_without_ansi(block.texts))
    return known


def folded_docs(block: Block) -> bytes:
    """The JSON of the fields, whose escapes stay. Kept with the block."""
    known: bytes | None = block.scratch.get("docs")
    if known is None:
        known = block.scratch["docs"] = _folded_lines(END.join([*block.field_docs, b""]))
    return known


def keys_of_words(block: Block) -> Keys:
    """Keys of all words of the block's texts and fields, with repeats."""
    return np.concatenate([*map(text_keys, _pieces(_words_of_texts(block))), *map(document_keys, _documents(block))])


def _without_ansi(lines: bytes) -> bytes:
    if _ESCAPE not in lines:
        return lines
    parted = lines.split(END)
    # One by one: an escape that is not finished must not take the next line with it.
    return END.join([without_ansi(line.decode()).encode() if _ESCAPE in line else line for line in parted])


def _folded_lines(lines: bytes) -> bytes:
    if _is_ascii(lines):
        return lines.lower()
    parted = lines.split(END)
    other = [place for place, line in enumerate(parted) if not line.isascii()]
    # No text has the surrogate that stands for END meanwhile.
    joined = END.join([parted[place] for place in other]).decode(errors="surrogateescape")
    for place, line in zip(other, folded(joined).encode(errors="surrogateescape").split(END), strict=True):
        parted[place] = line
    return END.join(parted).lower()


def _is_ascii(lines: bytes) -> bool:
    return int(np.count_nonzero(np.frombuffer(lines, np.uint8) >= 0x80)) == lines.count(END)


def _words_of_texts(block: Block) -> bytes:
    lines = folded_texts(block)
    if _is_ascii(lines):
        return lines
    parted = lines.split(END)
    other = b"\n".join([line for line in parted if not line.isascii()]).decode()
    return END.join([*(line for line in parted if line.isascii()), bare(other)])


def _pieces(lines: bytes) -> Iterator[bytes]:
    """Cut between lines, so that what is worked out for each byte stays small."""
    start = 0
    while len(lines) - start > _PIECE:
        end = lines.find(END, start + _PIECE)
        if end < 0:
            break
        yield lines[start:end]
        start = end
    yield lines[start:]


def _documents(block: Block) -> Iterator[bytes]:
    docs = [doc for doc in block.field_docs if doc]
    simple = b"".join([doc for doc in docs if doc.isascii() and b"\\" not in doc])
    if simple:
        yield simple.lower()
    other = b"".join([_rewritten(doc) for doc in docs if not doc.isascii() or b"\\" in doc])
    if other:
        yield other


def _rewritten(doc: bytes) -> bytes:
    """The words of a document in one that has neither escapes nor anything but words inside its quotes."""
    return b"".join(
        b'"%b":"%b"' % (_name(folded(name)), bare(folded(value))) for name, value in orjson.loads(doc).items()
    )


def _name(name: str) -> bytes:
    return name.encode("utf-8", "replace").replace(b'"', b"?")
