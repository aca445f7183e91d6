"""Where messages of syslog begin and end on TCP: octets counted (RFC 6587, 3.4.1), or ended by a line feed or NUL."""

from __future__ import annotations

import re

MOST_BYTES = 1 << 20
"""Of a message that are kept; the rest of it is passed over."""

_COUNT = re.compile(rb"([1-9]\d{0,8}) (?=<)")
_COUNT_BEGUN = re.compile(rb"[1-9]\d{0,8} ?")
_END = re.compile(rb"[\n\0]")


class Frames:
    """Takes the bytes of one connection apart; each message tells anew how it is framed."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._buffer = bytearray()
        self._skip = 0
        """Octets of a counted message that are passed over."""
        self._is_skipping_line = False

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now."""
        self._buffer += data
        messages: list[bytes] = []
        while self._buffer and self._step(messages):
            pass
        return messages

    def end(self) -> list[bytes]:
        """What the connection left behind: a message that nothing ended."""
        rest, self._buffer = bytes(self._buffer), bytearray()
        is_message = rest.strip() and not self._is_skipping_line and not _COUNT.match(rest)
        return [rest.rstrip(b"\r")] if is_message else []

    def _step(self, messages: list[bytes]) -> bool:
        """Take what is at the start of the buffer; False when more must come first."""
        if self._skip:
            passed = min(self._skip, len(self._buffer))
            del self._buffer[:passed]
            self._skip -= passed
            return True
        if self._buffer[0] in b"\r\n\0 " and not self._is_skipping_line:
            del self._buffer[:1]
            return True
        if not self._is_skipping_line and self._buffer[:1].isdigit():
            return self._counted(messages)
        return self._ended(messages)

    def _counted(self, messages: list[bytes]) -> bool:
        found = _COUNT.match(self._buffer)
        if not found:
            if _COUNT_BEGUN.fullmatch(self._buffer):
                return False
            return self._ended(messages)  # a line that begins with a digit
        size, start = int(found[1]), found.end()
        kept = min(size, self._most)
        if len(self._buffer) < start + kept:
            return False
        messages.append(bytes(self._buffer[start : start + kept]))
        del self._buffer[: start + kept]
        self._skip = size - kept
        return True

    def _ended(self, messages: list[bytes]) -> bool:
        found = _END.search(self._buffer)
        if not found and len(self._buffer) <= self._most:
            return False
        stop = min(found.start() if found else len(self._buffer), self._most)
        if not self._is_skipping_line and stop:
            messages.append(bytes(self._buffer[:stop]).rstrip(b"\r"))
        self._is_skipping_line = found is None
        del self._buffer[: found.end() if found else len(self._buffer)]
        return True
