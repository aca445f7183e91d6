"""What one site may ask of another's browser, and what the network sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tests.portal.test_checks import PRODUCTION, ROOT

ORIGIN = {"Origin": "https://other.example"}


@pytest.mark.django_db
def test_no_other_site_reads_anything_unless_it_is_named(client: Client, settings: Any) -> None:
    assert "Access-Control-Allow-Origin" not in client.get("/api/x", headers=ORIGIN)
    settings.CORS_ALLOWED_ORIGINS = ["https://other.example"]
    assert client.get("/api/x", headers=ORIGIN)["Access-Control-Allow-Origin"] == "https://other.example"
    assert "Access-Control-Allow-Credentials" not in client.get("/api/x", headers=ORIGIN)
    assert "Access-Control-Allow-Origin" not in client.get("/healthz", headers=ORIGIN), "pages are never shared"
    assert "Access-Control-Allow-Origin" not in client.get("/api/x", headers={"Origin": "https://evil.example"})


def test_with_tls_cookies_stay_on_it_and_browsers_remember(tmp_path: Path) -> None:
    """In a process of its own: the settings follow from PORTAL_URL when they are read."""
    script = (
        "import django; django.setup()\n"
        "from django.conf import settings as s\n"
        "from django.test import Client\n"
        "c = Client(headers={'host': 'monitor.example.org'})\n"
        "print(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_HTTPONLY, s.SESSION_COOKIE_SAMESITE)\n"
        "print(c.get('/accounts/login/').headers['Location'], c.get('/healthz').status_code)\n"
        "print(c.get('/healthz', headers={'x-forwarded-proto': 'https'}).headers['Strict-Transport-Security'])\n"
    )
    own = {"PATH": os.environ["PATH"], "PORTAL_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "portal.settings"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=own | PRODUCTION, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "True True True Lax",
        "https://monitor.example.org/accounts/login/ 200",
        "max-age=31536000; includeSubDomains; preload",
    ]


@pytest.mark.django_db
def test_a_host_that_is_not_ours_is_refused() -> None:
    browser = Client(raise_request_exception=False)
    assert browser.get("/accounts/login/", headers={"host": "evil.example"}).status_code == 400
