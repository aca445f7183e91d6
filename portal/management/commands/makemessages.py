"""Django's makemessages, which also finds `_t` (where `_` is taken) and the plurals of `say_count` and `counted`."""

from __future__ import annotations

from django.core.management.commands import makemessages


class Command(makemessages.Command):
    xgettext_options = [
        *makemessages.Command.xgettext_options,
        "--keyword=_t",
        "--keyword=say_count:3,4",
        "--keyword=counted:1,2",
    ]
