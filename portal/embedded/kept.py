"""Secrets that `up` makes once and keeps with the data."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from portal.embedded.folders import write_private

FILE = "secrets.json"


@dataclass(frozen=True)
class Kept:
    secret_key: str
    postgres_password: str
    demo_password: str
    push_token: str
    read_token: str
    encryption_key: str = ""

    @classmethod
    def read(cls, data: Path) -> Kept:
        return cls(**json.loads((data / FILE).read_text()))

    @classmethod
    def read_or_make(cls, data: Path) -> Kept:
        """The secrets of the data folder; the caller holds its lock."""
        if (data / FILE).exists():
            kept = cls.read(data)
            if kept.encryption_key:
                return kept
            kept = replace(kept, encryption_key=secrets.token_urlsafe(32))  # of a data folder older than it
        else:
            kept = cls(
                secret_key=secrets.token_urlsafe(50),
                postgres_password=secrets.token_urlsafe(24),
                demo_password=secrets.token_urlsafe(12),
                push_token=secrets.token_urlsafe(32),
                read_token=secrets.token_urlsafe(32),
                encryption_key=secrets.token_urlsafe(32),
            )
        write_private(data / FILE, json.dumps(asdict(kept), indent=2) + "\n")
        return kept
