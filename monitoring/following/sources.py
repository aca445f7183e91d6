"""What there is to follow on this machine, and from where each kind goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from monitoring.agent.openmanager_agent import Entry, Files, Journal
from monitoring.models import Followed

MOST_BYTES = 1 << 20
"""Of one kind in one go; the rest comes in the next."""

JOURNALS = (Path("/run/log/journal"), Path("/var/log/journal"))
IN_THE_JOURNAL = [
    *("/var/log/syslog", "/var/log/messages", "/var/log/auth.log", "/var/log/secure", "/var/log/kern.log"),
    *("/var/log/daemon.log", "/var/log/user.log", "/var/log/cron.log", "/var/log/cron", "/var/log/mail.log"),
    "/var/log/maillog",
]
"""Followed where there is no journal, which has the same lines."""
USUAL = [
    ("nginx", "/var/log/nginx/*.log"),
    ("apache", "/var/log/apache2/*.log"),
    ("httpd", "/var/log/httpd/*_log"),
    ("postgresql", "/var/log/postgresql/*.log"),
    ("mysql", "/var/log/mysql/*.log"),
    ("mariadb", "/var/log/mariadb/*.log"),
    ("redis", "/var/log/redis/*.log"),
    ("mongodb", "/var/log/mongodb/*.log"),
    ("rabbitmq", "/var/log/rabbitmq/*.log"),
    ("haproxy", "/var/log/haproxy.log"),
    ("dpkg", "/var/log/dpkg.log"),
    ("dnf", "/var/log/dnf.log"),
]


class Reader(Protocol):
    """Something that is followed."""

    def told(self) -> list[str]:
        """What cannot be read, and why."""

    def read(self) -> list[Entry]:
        """What was written since, about MOST_BYTES of it."""

    def place(self) -> dict[str, Any]:
        """From where another reader goes on."""

    def close(self) -> None: ...


class FilesReader:
    def __init__(self, patterns: list[tuple[str, str]], place: dict[str, Any], *, from_start: bool) -> None:
        self._files = Files(patterns, place, from_start)

    def told(self) -> list[str]:
        return sorted(self._files.unreadable.values())

    def read(self) -> list[Entry]:
        return self._files.poll(MOST_BYTES)

    def place(self) -> dict[str, Any]:
        return self._files.remembered()

    def close(self) -> None:
        self._files.close()


class JournalReader:
    def __init__(self, place: dict[str, Any]) -> None:
        self._told: dict[str, str] = {}
        self._journal = Journal(place.get("cursor", ""), tell=self._told.__setitem__)

    def told(self) -> list[str]:
        return sorted(self._told.values())

    def read(self) -> list[Entry]:
        entries = self._journal.poll(MOST_BYTES)
        if entries:
            self._told.pop("journal", None)
        return entries

    def place(self) -> dict[str, Any]:
        return {"cursor": self._journal.cursor}

    def close(self) -> None:
        self._journal.close()


def has_journal() -> bool:
    """Images of containers have the program, and nobody who writes one."""
    return shutil.which("journalctl") is not None and any(map(_has_files, JOURNALS))


def _has_files(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except PermissionError:
        return True
    except OSError:
        return False


def reader_of(what: str, place: dict[str, Any]) -> Reader | None:
    """None when there is nothing of that kind here."""
    if what == Followed.JOURNAL:
        return JournalReader(place) if has_journal() else None
    if what == Followed.OWN:
        # From the start: how the portal came up is worth reading.
        return FilesReader([("", str(settings.DATA_DIR / "logs" / "*.log"))], place, from_start=True)
    return FilesReader(
        USUAL if has_journal() else USUAL + [("", path) for path in IN_THE_JOURNAL], place, from_start=False
    )
