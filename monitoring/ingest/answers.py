"""What a sender is told: the same words and shapes at every door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monitoring.ingest import tokens
from monitoring.ingest.door import Taken
from monitoring.ingest.points import BadBodyError, Rejected
from monitoring.models import PushToken
from portal.toolkit.intake import Answer, Push, failure

TOLD = 20
CODES = {400: "bad_body", 413: "too_large", 415: "wrong_type"}


def answer_of(taken: Taken) -> Answer:
    """200 when all was kept; 400 when something was refused: what, where, why, and how much was kept all the same."""
    facts = facts_of(taken)
    if not taken.rejected:
        return Answer(200, facts)
    code = "partly_refused" if taken.kept else "refused"
    return failure(400, code, _words(taken.rejected[0], taken.refused), **facts)


def facts_of(taken: Taken) -> dict[str, Any]:
    refused = [
        {"where": _plain(each.where), "reason": _plain(each.reason), "count": each.count}
        for each in taken.rejected[:TOLD]
    ]
    return {"kept": taken.kept, "gaps": taken.gaps, "refused": refused, "refused_count": taken.refused}


def guarded(accept: Callable[[Push, PushToken], Answer]) -> Callable[[Push, PushToken], Answer]:
    """`accept` for a door: a body of which nothing can be taken is told as such, and who used the token is noted."""

    def handler(push: Push, token: PushToken) -> Answer:
        tokens.seen(token.pk, push.client)
        try:
            return accept(push, token)
        except BadBodyError as error:
            return failure(error.status, CODES[error.status], _plain(str(error)), **facts_of(Taken()))

    return handler


def _words(first: Rejected, count: int) -> str:
    return _plain(f"{first.where}: {first.reason}") + (f" (and {count - 1} more)" if count > 1 else "")


def _plain(text: str) -> str:
    """Text that can be written as UTF-8: what a sender calls its things need not be."""
    return text.encode("utf-8", "backslashreplace").decode()
