"""What every test may ask for; `manage.py test` has started PostgreSQL, Redis and mail for the settings."""

from __future__ import annotations

import mailbox as mailboxes
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import translation

from portal.toolkit import redis


@pytest.fixture(autouse=True)
def closed_breaker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that took Redis away must not leave the process resting in the next one."""
    monkeypatch.setattr(redis.breaker, "_failed", 0)


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Sentences are compared as they are in English, whatever language the last request of another test has left."""
    with translation.override("en"):
        yield


@pytest.fixture
def mailbox(settings: Any) -> mailboxes.Maildir:
    """The real mail server's folder, empty; Django's mail goes there over SMTP, not into its list of sent mails."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    box = mailboxes.Maildir(settings.DATA_DIR / "mail")
    box.clear()
    return box


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a path short enough for unix sockets, which under root the account of PostgreSQL can reach."""
    with tempfile.TemporaryDirectory(prefix="om-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
