from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from portal.checks import check_settings

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCTION = {
    "PORTAL_URL": "https://monitor.example.org",
    "PORTAL_HOSTS": "monitor.example.org",
    "PORTAL_SECRET_KEY": "0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "PORTAL_BEHIND_PROXY": "1",
    "DATABASE_URL": "postgresql://portal:secret@db.example.org/portal?sslmode=verify-full",
    "REDIS_URL": "rediss://redis.example.org:6379/0",
}


def ids() -> list[str]:
    return sorted(message.id or "" for message in check_settings() if message.id != "portal.W003")


def check(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`manage.py check` in a process of its own that sees only `environment`."""
    own = {"PATH": os.environ["PATH"], "PORTAL_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "portal.settings"}
    return subprocess.run(
        [sys.executable, "-m", "django", "check", *arguments],
        env=own | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_production_is_clean_to_the_last_warning(tmp_path: Path) -> None:
    done = check(tmp_path, "--deploy", "--fail-level", "DEBUG", **PRODUCTION)
    assert done.returncode == 0, done.stderr
    assert "no issues (0 silenced)" in done.stdout


def test_an_empty_environment_is_told_what_it_needs(tmp_path: Path) -> None:
    done = check(tmp_path)
    assert done.returncode == 1
    for word in ("portal.E001", "DATABASE_URL", "portal.E002", "REDIS_URL", "portal.E003", "PORTAL_SECRET_KEY", "HINT"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORTAL_DEBUG", "yes", "PORTAL_DEBUG='yes': use 0 or 1"),
        ("DATABASE_URL", "mysql://x/y", "DATABASE_URL: starts with mysql://, use postgresql or postgres"),
        ("PORTAL_RETENTION_DAYS", "-3", "PORTAL_RETENTION_DAYS='-3': use a whole number from 1 to 3650"),
    ],
)
def test_a_wrong_value_names_its_variable(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    done = check(tmp_path, **(PRODUCTION | {name: value}))
    assert done.returncode != 0
    assert sentence in done.stderr.splitlines()[-1]


def test_this_machine_needs_no_tls() -> None:
    assert ids() == []


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("REDIS_URL", "", ["portal.E002"]),
        ("SECRET_KEY", "short", ["portal.E003"]),
        ("ALLOWED_HOSTS", ["*"], ["portal.E004"]),
        ("PORTAL_URL", "monitor.example.org", ["portal.E005"]),
        ("PORTAL_URL", "http://127.0.0.1:99999", ["portal.E005"]),
        ("PORTAL_URL", "https://monitor.example.org", ["portal.E006"]),
        ("SCRAPE_ALLOW", ["10.0.0.0/8", "not a host"], ["portal.E007"]),
        ("SYSLOG_ALLOW", ["10.0.0.0/8=devices", "10.0.0.0/8"], ["portal.E009"]),
        ("SYSLOG_ALLOW", ["10.0.0.0/8=devices", "fd00::/8=more devices"], []),
        ("SYSLOG_ZONE", "Mars/Base", ["portal.E010"]),
        ("DEFAULT_FROM_EMAIL", "the portal", ["portal.E008"]),
        ("DEFAULT_FROM_EMAIL", "Portal <portal@localhost>", []),
        ("REDIS_URL", "redis://10.0.0.5:6379/0", ["portal.W002"]),
        ("REDIS_URL", "rediss://10.0.0.5:6379/0", []),
        ("REDIS_URL", "unix:///run/redis.sock", []),
        ("REDIS_URL", "redis://[::1]:6379/0", []),
    ],
)
def test_a_mistake_has_an_id_and_a_hint(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: object, expected: list[str]
) -> None:
    monkeypatch.setattr(settings, setting, value)
    assert ids() == expected
    assert all(message.hint for message in check_settings())


@pytest.mark.parametrize(
    ("host", "options", "expected"),
    [
        ("db.example.org", {}, ["portal.W001"]),
        ("db.example.org", {"sslmode": "prefer"}, ["portal.W001"]),
        ("db.example.org", {"sslmode": "verify-full"}, []),
        ("/run/postgresql", {}, []),
        ("127.0.0.1", {}, []),
    ],
)
def test_postgresql_elsewhere_is_spoken_to_with_tls(
    monkeypatch: pytest.MonkeyPatch, host: str, options: dict[str, str], expected: list[str]
) -> None:
    monkeypatch.setitem(settings.DATABASES, "default", {"NAME": "portal", "HOST": host, "OPTIONS": options})
    assert ids() == expected
