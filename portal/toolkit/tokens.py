"""What tokens for programs are made of: a text that is told once, and what is kept of it."""

from __future__ import annotations

import hashlib
import secrets

HINT_LETTERS = 6


def new_text(prefix: str) -> str:
    """A token's text. The prefix tells people, and those who search for leaked secrets, what it is."""
    return prefix + secrets.token_urlsafe(32)


def digest_of(text: str) -> str:
    """What is kept of a token: it cannot be turned back."""
    return hashlib.sha256(text.encode()).hexdigest()


def hint_of(text: str) -> str:
    """Its last letters, by which people tell it from others."""
    return text[-HINT_LETTERS:]
