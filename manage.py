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
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError:
        bootstrap.rebuild(sys.argv)
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"A setting is wrong: {error}")


if __name__ == "__main__":
    main()
