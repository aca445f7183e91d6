"""What all that is read by HTTP has in common: a URL with a user, a secret, and how these are sent."""

from __future__ import annotations

import base64

from django.core.exceptions import ValidationError

from monitoring.collectors.credentials import parts_of, refuse_password
from portal.toolkit.targets import FetchError, check_place


def check_url(url: str) -> None:
    """Raise ValidationError, in words for whoever typed it, when `url` is not one that could be collected from.

    May ask the DNS for up to 2 s; a name that it does not know yet is accepted.
    """
    refuse_password(url)
    try:
        check_place(parts_of(url).bare)
    except FetchError as error:
        raise ValidationError(str(error), code="url") from error


def authorization(user: str, secret: str) -> dict[str, str]:
    """The header that says who asks: the user with the password, or without a user a bearer token."""
    if user:
        pair = base64.b64encode(f"{user}:{secret}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    token = secret.strip()  # often pasted with the end of its line
    return {"Authorization": f"Bearer {token}"} if token else {}
