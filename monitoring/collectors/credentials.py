"""URLs with a user name, and never with a password: that is taken out before anything is stored."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

OWN = "own:"
"""The URL of the portal's own service: its settings say where it is, and no password is stored for it."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`<scheme>://<user>:<password>@<place>`; user and password as they are written, "" where there is none."""

    scheme: str
    user: str
    password: str
    place: str

    @property
    def bare(self) -> str:
        """The URL without user and password."""
        return f"{self.scheme}://{self.place}" if self.scheme else self.place

    @property
    def kept(self) -> str:
        """The URL without the password: what may be stored and shown."""
        return f"{self.scheme}://{self.user}@{self.place}" if self.user else self.bare

    @property
    def user_name(self) -> str:
        return unquote(self.user)

    @property
    def plain_password(self) -> str:
        return unquote(self.password)


def parts_of(url: str) -> Parts:
    """Take `url` apart. Raises ValidationError when the end of its password cannot be told."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Parts("", "", "", url)
    end = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    authority, path = rest[:end], rest[end:]
    userinfo, at, host = authority.rpartition("@")
    _name, colon, port = host.rpartition(":")
    if not at and colon and "@" in path and not port.isdecimal() and not host.endswith("]"):
        raise ValidationError(_("Write / ? # @ in a password as %2F %3F %23 %40, or type it into its own field."))
    user, _colon, password = userinfo.partition(":")
    return Parts(scheme, user, password, host + path)


def refuse_password(url: str) -> None:
    """Raise ValidationError when `url` holds a password: it would be stored and shown."""
    if parts_of(url).password:
        raise ValidationError(_("The password belongs into its own field."))
