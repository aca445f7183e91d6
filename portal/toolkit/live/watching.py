"""What one open client asked for, and what of that it may watch: in the hub, and in step with its person's rights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.contrib.auth.models import AbstractBaseUser

from portal.toolkit.live.admission import Credential
from portal.toolkit.live.control import session_tag
from portal.toolkit.live.hub import Hub
from portal.toolkit.live.topic import Address
from portal.toolkit.live.watcher import Watcher, nobody


class Watching:
    """`on_signed_out()` when its person is not signed in any more, `on_refused(addresses)` when some are taken away,
    `on_looked_at(person)` after each look at their rights."""

    __slots__ = (
        "_asked",
        "_hub",
        "_on_looked_at",
        "_on_refused",
        "_on_signed_out",
        "_watcher",
        "credential",
        "recheck_at",
        "user",
    )

    def __init__(
        self,
        hub: Hub,
        watcher: Watcher,
        user: AbstractBaseUser,
        credential: Credential,
        *,
        on_signed_out: Callable[[], None],
        on_refused: Callable[[Sequence[Address]], None],
        on_looked_at: Callable[[AbstractBaseUser], None] = lambda _user: None,
    ) -> None:
        self._hub = hub
        self._watcher = watcher
        self.user = user
        self.credential = credential
        self._on_signed_out = on_signed_out
        self._on_refused = on_refused
        self._on_looked_at = on_looked_at
        self._asked: Mapping[Address, Address | None] = {}  # replaced, never changed
        self.recheck_at = 0.0

    @property
    def asked(self) -> Mapping[Address, Address | None]:
        """All that was asked for, with the canonical address, or None while that may not be watched. The same object
        for as long as nothing of that changes."""
        return self._asked

    def close(self) -> None:
        """Look at no rights any more, and let go of those who are told: else only the collector would free them all."""
        self._hub.rechecker.discard(self)
        self._on_signed_out = self._on_refused = self._on_looked_at = nobody

    def add(self, asked: Iterable[Address], admitted: Mapping[Address, Address]) -> None:
        """Watch what of `asked` was admitted; the rest as soon as it may be."""
        self._asked = {**self._asked, **{address: admitted.get(address) for address in asked}}
        self._hub.watch(self._watcher, admitted.values())

    def remove(self, addresses: Iterable[Address]) -> None:
        asked = dict(self._asked)
        left = {asked.pop(address, None) for address in addresses} - set(asked.values())
        self._asked = asked
        self._hub.unwatch(self._watcher, [address for address in left if address])

    def on_control(self, said: Mapping[str, Any]) -> None:
        """An order to open clients."""
        closing = said.get("close_session")
        if closing and isinstance(self.credential, str) and closing == session_tag(self.credential):
            self._on_signed_out()
        if said.get("recheck_user") == self.user.pk:
            self._hub.rechecker.at_once(self)
        if said.get("missed"):
            self._hub.rechecker.soon(self)

    def take_rights(
        self, user: AbstractBaseUser | None, asked: Iterable[Address], admitted: Mapping[Address, Address]
    ) -> None:
        """What the rechecker found: `admitted` of `asked`, which is what `self.asked` was when it looked."""
        if user is None or user.pk != self.user.pk:
            self._on_signed_out()
            return
        self.user = user
        known = self._asked
        is_as_before = asked is known and list(map(admitted.get, known)) == list(known.values())
        if not is_as_before:
            self._take_what_changed(asked, admitted)
        self._on_looked_at(user)

    def _take_what_changed(self, asked: Iterable[Address], admitted: Mapping[Address, Address]) -> None:
        looked_at = [address for address in asked if address in self._asked]  # the rest was given up meanwhile
        taken = [address for address in looked_at if self._asked[address] and address not in admitted]
        before = set(self._asked.values())
        self._asked = {**self._asked, **{address: admitted.get(address) for address in looked_at}}
        after = set(self._asked.values())
        self._hub.unwatch(self._watcher, filter(None, before - after))
        self._hub.watch(self._watcher, filter(None, after - before))
        if taken:
            self._on_refused(taken)
