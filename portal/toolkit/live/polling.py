"""The same topics for who asks again and again: one frame with the whole state, as text."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from hashlib import blake2b

from django.contrib.auth.models import AbstractBaseUser
from django.utils import translation
from django.utils.html import format_html

from portal.toolkit.live.admission import admit
from portal.toolkit.live.fragment import gone, without_stamps
from portal.toolkit.live.topic import Address, topics
from portal.toolkit.redis import breaker

EPOCH = "polling"


def whole_state(user: AbstractBaseUser, asked: Iterable[Address], language: str) -> str:
    """Every asked element that `user` may watch as it is now, and a `<template>` that names those they may not.

    One round trip a topic; without Redis the topics read PostgreSQL.
    """
    asked = list(dict.fromkeys(asked))
    admitted = admit(user, asked)
    refused = [str(address) for address in asked if address not in admitted]
    parts = list(_rendered(dict.fromkeys(admitted.values()), language))
    if refused:
        parts.append(format_html('<template data-refused="{}"></template>', " ".join(refused)))
    return "\n".join(parts)


def _rendered(addresses: Iterable[Address], language: str) -> Iterable[str]:
    keys: dict[str, list[str]] = defaultdict(list)
    for address in addresses:
        keys[address.topic].append(address.key)
    for name, wanted in keys.items():
        with translation.override(language):
            html = topics()[name].render(wanted, language)
        for key in wanted:
            yield html.get(key) or gone(Address(name, key))


def beat() -> str:
    """As the hub's: when this was asked, and whether what is shown is as new as it could be."""
    return (
        f'<div id="live-beat" hidden data-epoch="{EPOCH}" data-at="{time.time_ns() // 1_000_000}" '
        f'data-touched="0" data-health="{"degraded" if breaker.is_open else "ok"}"></div>'
    )


def tag_of(state: str) -> str:
    """Equal for what differs in nothing but the values of `data-at`."""
    return f'W/"{blake2b("".join(without_stamps(state)).encode(), digest_size=12).hexdigest()}"'
