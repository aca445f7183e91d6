"""Secrets taken out of lines that the portal itself follows: what is in a log is read by more people than wrote it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from urllib.parse import unquote, urlsplit

from django.conf import settings

HIDDEN = "***"
LEAST = 8
"""Characters of a secret that is looked for as it is: shorter ones are found in anything."""

_KEY = (
    r"pass(?:word|wd|phrase)?|pwd|secret(?:[_-]key)?|token|api[_-]?key|access[_-]?key|session(?:id|_key)|csrf\w*|digest"
)
_PATTERNS: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), HIDDEN),
    (re.compile(r"\bom[a-z]_[\w-]{20,}"), HIDDEN),
    (re.compile(r"\b(bearer|basic) +[\w.~+/=-]{8,}", re.I), rf"\1 {HIDDEN}"),
    (re.compile(r"\b((?:set-)?cookie\b[\"']?\s*[:=]\s*)[^\n]+", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"(://[^\s:/@]*):[^\s/@]+@"), rf"\1:{HIDDEN}@"),
    (re.compile(rf"(\b[\w-]*(?:{_KEY})\\?[\"']?\s*[=:]\s*\\?[\"']?)(?!\s)[^\s\"',;&)}}\\]+", re.I), rf"\1{HIDDEN}"),
    (re.compile(r"(/ping/)[0-9a-f-]{36}", re.I), rf"\1{HIDDEN}"),
    # What PostgreSQL says of a row that it refused.
    (re.compile(r"\)=\([^\n]*?\)(?= |$)", re.M), f")=({HIDDEN})"),
]
_STATEMENT = re.compile(r"\b(?:STATEMENT|QUERY|CONTEXT|parameters):|Failing row contains", re.I)
_LITERAL = re.compile(r"'(?:[^']|'')*(?:'|\Z)")
_ROW = re.compile(r"(Failing row contains )\(.*", re.S)


def hushed(text: str) -> str:
    """The text without the portal's own secrets, and without what looks like somebody's."""
    text = _known()(text)
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    found = _STATEMENT.search(text)
    if not found:
        return text
    after = _ROW.sub(rf"\1({HIDDEN})", text[found.start() :])
    return text[: found.start()] + _LITERAL.sub(f"'{HIDDEN}'", after)


@cache
def _known() -> Callable[[str], str]:
    secrets = sorted({secret for secret in _secrets() if len(secret) >= LEAST}, key=len, reverse=True)
    if not secrets:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, secrets)))
    return lambda text: pattern.sub(HIDDEN, text)


def _secrets() -> list[str]:
    """Those of the settings, and those that `up` made for this data folder."""
    urls = [settings.REDIS_URL, str(settings.CELERY_BROKER_URL)]
    passwords = [unquote(urlsplit(url).password or "") for url in urls]
    database = str(settings.DATABASES["default"].get("PASSWORD") or "")
    return [
        *(settings.SECRET_KEY, *settings.ENCRYPTION_KEYS, database, settings.EMAIL_HOST_PASSWORD),
        *passwords,
        *_made(),
    ]


def _made() -> list[str]:
    try:
        said = json.loads((settings.DATA_DIR / "secrets.json").read_text())
    except (OSError, ValueError):
        return []
    return [value for value in said.values() if isinstance(value, str)] if isinstance(said, dict) else []
