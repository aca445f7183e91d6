"""Runs benchmarks inside the services that `manage.py bench` started for them."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path

import django


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    results: dict[str, float] = {}
    for name in arguments.names:
        print(f"{name} …", flush=True)
        measured = importlib.import_module(f"portal.system.bench.{name}").run()
        for key, value in measured.items():
            print(f"  {key:<42}{value:>16,.3f}", flush=True)
        results |= measured
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=2) + "\n")


main()
