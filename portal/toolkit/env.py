"""Strict readers of environment variables: a wrong value names its variable and says what is allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")


class Env:
    """Reads settings from `source` (the process environment unless told), which is never changed."""

    def __init__(self, source: Mapping[str, str] | None = None) -> None:
        self._source = os.environ if source is None else source

    def text(self, name: str, default: str = "") -> str:
        return self._source.get(name, default).strip()

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._source.get(name, "").strip()
        if value == "":
            return default
        if value not in {"0", "1"}:
            raise ImproperlyConfigured(f"{name}={value!r}: use 0 or 1")
        return value == "1"

    def whole(self, name: str, default: int, *, least: int, most: int) -> int:
        value = self._source.get(name, "").strip()
        if value == "":
            return default
        try:
            number = int(value)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise ImproperlyConfigured(f"{name}={value!r}: use a whole number from {least} to {most}")
        return number

    def words(self, name: str, default: tuple[str, ...] = ()) -> list[str]:
        """A comma-separated list, blanks left out."""
        value = self._source.get(name, "")
        return [word.strip() for word in value.split(",") if word.strip()] or list(default)

    def origins(self, name: str) -> list[str]:
        """A comma-separated list of scheme://host[:port], as browsers send them: no path, no `*`."""
        origins = self.words(name)
        for origin in origins:
            if _ORIGIN.fullmatch(origin) is None:
                raise ImproperlyConfigured(f"{name}: {origin!r} is no origin, use https://status.example.org")
        return origins

    def url(self, name: str, schemes: tuple[str, ...]) -> SplitResult | None:
        """A URL with one of `schemes`, or None when the variable is not set."""
        value = self._source.get(name, "").strip()
        if value == "":
            return None
        try:
            parts = urlsplit(value)
            _ = parts.port
        except ValueError:
            # What the library says may quote a piece of the password.
            raise ImproperlyConfigured(
                f"{name}: is no URL; a port is a number up to 65535, and / : @ # in a password are written as %2F %3A …"
            ) from None
        if parts.scheme not in schemes:
            raise ImproperlyConfigured(
                f"{name}: starts with {parts.scheme or 'no scheme'}://, use {' or '.join(schemes)}"
            )
        return parts


def read_env_file(path: Path) -> dict[str, str]:
    """The KEY=VALUE lines of `path`; none when there is no such file or it is not ours to read."""
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return {}
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}
