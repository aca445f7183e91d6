"""Frames as bytes, read back by a websocket client's own code."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame as Received
from websockets.protocol import State
from websockets.uri import parse_uri

from portal.toolkit.live.frame import Frame, Piece

CARDS = [f'<b id="card-{number}" title="↓">{number % 7 * "card "}</b>' for number in range(3_000)]


def received(data: bytes, *extensions: PerMessageDeflate) -> str:
    client = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN, max_size=None)
    client.extensions = list(extensions)
    client.receive_data(data)
    [frame] = client.events_received()
    assert isinstance(frame, Received)
    assert frame.fin
    return bytes(frame.data).decode()


@pytest.mark.parametrize("count", [1, 2, 40, 3_000])  # sizes of 1, 2 and 8 bytes
def test_a_browser_reads_the_pieces_joined_by_newlines(count: int) -> None:
    frame = Frame([Piece(card) for card in CARDS[:count]])
    assert received(frame.plain) == frame.text == "\n".join(CARDS[:count])


@pytest.mark.parametrize("count", [1, 2, 40, 3_000])
def test_a_browser_inflates_pieces_that_were_compressed_one_by_one(count: int) -> None:
    frame = Frame([Piece(card) for card in CARDS[:count]])
    inflate = PerMessageDeflate(True, True, 12, 12)
    assert received(frame.compressed, inflate) == frame.text
    assert received(frame.compressed, inflate) == frame.text  # and again: no message leans on another


def test_a_piece_is_compressed_once_for_all_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[bytes] = []
    monkeypatch.setattr("portal.toolkit.live.frame.deflated", lambda data: done.append(data) or data)  # type: ignore[func-returns-value]
    pieces = [Piece("a"), Piece("b")]
    for _ in range(3):
        assert Frame(pieces).compressed
        assert Frame(pieces[:1]).compressed
    assert done == [b"a", b"b"]
