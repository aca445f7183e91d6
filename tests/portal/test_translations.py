"""Korean is complete: every text of ours has a translation, and what is compiled is what is written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "portal/locale/ko/LC_MESSAGES"


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


gettext = pytest.mark.skipif(shutil.which("msgfmt") is None, reason="gettext's tools are not installed")


@gettext
def test_every_text_is_translated_and_none_is_fuzzy() -> None:
    for kind in ("--untranslated", "--only-fuzzy"):
        assert run("msgattrib", kind, "--no-obsolete", str(CATALOGUE / "django.po")) == ""


@gettext
def test_what_is_compiled_is_what_is_written(tmp_path: Path) -> None:
    run("msgfmt", "--check", "-o", str(tmp_path / "django.mo"), str(CATALOGUE / "django.po"))
    assert run("msgunfmt", str(tmp_path / "django.mo")) == run("msgunfmt", str(CATALOGUE / "django.mo"))


@gettext
def test_every_text_of_the_sources_is_in_the_catalogue(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tmp_path / "locale/ko/LC_MESSAGES"
    found.mkdir(parents=True)
    shutil.copy(CATALOGUE / "django.po", found)
    settings.LOCALE_PATHS = [tmp_path / "locale"]
    monkeypatch.chdir(ROOT)
    # "locale": a folder of that name that it comes across is where it would write.
    ignored = [".venv", "node_modules", "var", "tests", "locale"]
    call_command(
        "makemessages", locale=["ko"], no_location=True, no_obsolete=True, ignore_patterns=ignored, verbosity=0
    )
    for kind in ("--untranslated", "--only-fuzzy"):
        assert run("msgattrib", kind, "--no-obsolete", str(found / "django.po")) == ""
