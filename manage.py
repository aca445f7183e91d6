#!/usr/bin/env python3
"""OpenManager's commands. On a machine with nothing but Python the first one builds .venv (portal/bootstrap.py)."""

import os
import sys

OLDEST_PYTHON = (3, 11)


def main() -> None:
    # Before any other import: an older Python would die on newer syntax with a traceback.
    if sys.version_info < OLDEST_PYTHON:
        found = "%d.%d" % sys.version_info[:2]  # noqa: UP031
        sys.exit("OpenManager needs Python 3.11 or newer and this is " + found + ": use a newer python3.")
    from portal import bootstrap

    bootstrap.enter(sys.argv)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    try:
        run(sys.argv)
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        bootstrap.rebuild(sys.argv)


def run(argv: "list[str]") -> None:
    """`up` and `test` make the environment that the settings are read from: they run before Django reads any."""
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    command = argv[1] if len(argv) > 1 else ""
    try:
        if command == "up":
            from portal.management.commands.up import Command as Up

            Up().run_from_argv(argv)
        elif command == "test":
            from portal.management.commands.test import Command as Test

            Test().run_from_argv(argv)
        else:
            execute_from_command_line(argv)
    except ImproperlyConfigured as error:
        sys.exit(f"A setting is wrong: {error}")


if __name__ == "__main__":
    main()
