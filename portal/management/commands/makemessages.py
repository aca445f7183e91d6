"""Django's makemessages, which also finds `_t` (gettext where `_` is gettext_lazy) and the plurals of `say_count`."""

from __future__ import annotations

from django.core.management.commands import makemessages


class Command(makemessages.Command):
    xgettext_options = [*makemessages.Command.xgettext_options, "--keyword=_t", "--keyword=say_count:3,4"]
