"""Secrets of others (passwords, keys) encrypted at rest, with a key that is not in the database."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class SecretLostError(Exception):
    """The secret was encrypted with a key that PORTAL_ENCRYPTION_KEYS does not name any more."""


def seal(secret: str) -> str:
    """`secret` encrypted with the first of PORTAL_ENCRYPTION_KEYS, as text; "" stays ""."""
    return _keys().encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str) -> str:
    """What `seal` was given, under any of the keys. Raises SecretLostError."""
    if not sealed:
        return ""
    try:
        return _keys().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise SecretLostError("encrypted with a key that is not in PORTAL_ENCRYPTION_KEYS any more") from error


def _keys() -> MultiFernet:
    return _fernet(tuple(settings.ENCRYPTION_KEYS))


@lru_cache(maxsize=8)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    """A key is any long text: its SHA-256 is what Fernet uses."""
    return MultiFernet([Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys])
